# The page as a container, with the default checkpoint inside; it starts without network.
#   docker build -t lamdemo .
#   docker run --rm -p 7860:7860 lamdemo
# or, with what is fetched from the Hub kept in a volume: docker compose up

FROM python:3.11-slim AS build
# An index of CPU builds of torch, where one is at hand: see container/install.sh.
ARG TORCH_INDEX=
WORKDIR /src
# Requirements first: they change less often than the code, and Docker then keeps what was fetched for them.
COPY container/install.sh container/requirements.lock container/requirements-cpu.lock container/requirements-cuda.lock \
    container/
RUN TORCH_INDEX="${TORCH_INDEX}" container/install.sh requirements /opt/lamdemo
COPY . .
RUN container/install.sh package /opt/lamdemo

FROM python:3.11-slim
# No root inside, and the user id that hosts of such pages expect.
RUN useradd --create-home --uid 1000 user && mkdir /data && chown user /data
COPY --from=build /opt/lamdemo /opt/lamdemo
COPY container/healthy.py /opt/healthy.py
USER 1000
WORKDIR /home/user
# Every machine that reaches the container may open the page; LAMDEMO_HOST also tells the page that its visitors
# are not at this machine. Checkpoints that visitors name are kept in /data.
ENV PATH=/opt/lamdemo/bin:$PATH \
    LAMDEMO_HOST=0.0.0.0 \
    GRADIO_SERVER_PORT=7860 \
    GRADIO_ANALYTICS_ENABLED=0 \
    HF_HUB_DISABLE_TELEMETRY=1 \
    HF_HOME=/data \
    PYTHONUNBUFFERED=1
VOLUME /data
EXPOSE 7860
# The page opens in seconds; a machine that is busy with transfers may take a few to answer.
HEALTHCHECK --interval=30s --timeout=10s --start-period=60s --retries=3 CMD ["python", "/opt/healthy.py"]
CMD ["lamdemo", "app"]
