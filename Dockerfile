# The page as a container:
#   docker build -t lamdemo .
#   docker run --rm -p 7860:7860 lamdemo
FROM python:3.11-slim

# No root inside, and the user id that hosts of such pages expect.
RUN useradd --create-home --uid 1000 user
WORKDIR /home/user/app

# Requirements first: they change less often than the code, and Docker then keeps this layer.
# On Linux, PyPI's torch brings CUDA's libraries along, gigabytes that this image never uses, for it computes
# on the CPU. Where a CPU build of the same version is at hand, give pip its index:
#   docker build --build-arg PIP_EXTRA_INDEX_URL=... -t lamdemo .
ARG PIP_EXTRA_INDEX_URL
COPY requirements.txt .
RUN pip install --no-cache-dir -r requirements.txt

COPY --chown=user . .
USER user

# Every machine that reaches the container may open the page; LAMDEMO_HOST also tells the page that its visitors
# are not at this machine.
ENV LAMDEMO_HOST=0.0.0.0 \
    GRADIO_SERVER_NAME=0.0.0.0 \
    GRADIO_SERVER_PORT=7860 \
    OMP_WAIT_POLICY=passive \
    PYTHONUNBUFFERED=1
EXPOSE 7860
CMD ["python", "app.py"]
