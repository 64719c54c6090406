"""A page with nothing but the map of a made-up atlas, for tests and for the benchmark.

    python tests/map_page.py PORT POINTS FOLDER

What the map tells Python stands in ``#last`` as JSON; the buttons lay things over the map or put another atlas there.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import gradio as gr
import numpy as np
from atlas_files import synthetic_atlas

from lamdemo.ui import style
from lamdemo.ui.map import (
    MAP_CSS,
    MAP_JS,
    OVERLAY_ID,
    MapChosen,
    MapPath,
    MapSamples,
    map_html,
    overlay_html,
    write_map,
    write_plotly,
)
from lamdemo.ui.views import url


def main(port: int, points: int, folder: Path) -> None:
    """Serve until terminated."""
    atlases = [synthetic_atlas(points, 16, max(points // 40, 3), seed=0), synthetic_atlas(60, 16, 6, seed=1)]
    plotly = url(write_plotly(folder / "plotly"))
    values = [
        map_html(url(write_map(a, folder / f"atlas-{k}")), plotly, "A made-up map") for k, a in enumerate(atlases)
    ]
    gr.set_static_paths([folder])
    one = atlases[0]
    steps = np.flatnonzero(one.recording == 2)[:7]
    rng = np.random.default_rng(0)
    far = rng.normal(size=(40, 16)) * 1.2
    near = one.latents[rng.choice(len(one), 40)] + rng.normal(size=(40, 16)) * 0.3

    def places(z: np.ndarray) -> dict[str, np.ndarray]:
        return {key: one.place(z, key) for key in one.coordinates}

    laid = overlay_html(
        MapPath(
            {key: c[steps] for key, c in one.coordinates.items()}, one.seconds[steps], one.size[steps], "<b>my</b>.mp4"
        ),
        [MapSamples("Fixed prior", places(far)), MapSamples("Learned prior", places(near))],
        MapChosen(np.arange(5), {key: c[:50].mean(0) for key, c in one.coordinates.items()}, "mean"),
        {0: "camera pans left"},
    )

    def tell(event: gr.EventData) -> str:
        return json.dumps(event._data)

    with gr.Blocks(title="map", analytics_enabled=False) as blocks:
        with gr.Tabs():
            with gr.Tab("First"):
                gr.HTML("<p>Nothing of the map is here.</p>")
            with gr.Tab("Map"):
                with gr.Column(elem_classes="lam-card"):
                    shown = gr.HTML(values[0], js_on_load=MAP_JS, apply_default_css=False, elem_id="map")
                    over = gr.HTML(overlay_html(), js_on_load=None, elem_id=OVERLAY_ID)
                with gr.Row():
                    lay = gr.Button("Lay over", elem_id="lay")
                    clear = gr.Button("Clear", elem_id="clear")
                    swap = gr.Button("Another atlas", elem_id="swap")
                last = gr.Textbox("", label="Last event", elem_id="last", lines=1, max_lines=1)
        shown.click(tell, None, last, show_progress="hidden")
        lay.click(lambda: laid, None, over)
        clear.click(lambda: overlay_html(), None, over)
        swap.click(lambda: values[1], None, shown)
    blocks.launch(
        server_name="127.0.0.1",
        server_port=port,
        theme=style.theme(),
        css=style.CSS + MAP_CSS + ".gradio-container { width: 100%; }",
        ssr_mode=False,
        footer_links=[],
    )


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
