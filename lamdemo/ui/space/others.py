"""Maps of other models in the place of the checkpoint's own: looked at, step by step, and not played."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import gradio as gr
import numpy as np

from lamdemo.core.errors import LamdemoError
from lamdemo.ui import map as space_map
from lamdemo.ui.notices import Notice
from lamdemo.ui.space import views as space_views
from lamdemo.ui.space.common import Part, whole
from lamdemo.ui.space.work import Place, SpaceSession, elsewhere

if TYPE_CHECKING:
    from lamdemo.engine import TransferPipeline

_OURS = "this checkpoint"
_MOST_NEAR = 8  # steps on show, that which was clicked among them


class OtherMaps(Part):
    """The choice of whose map is shown, seen where a checkpoint has maps of others beside its own."""

    def lay_out(self) -> None:
        """Make the choice."""
        self.which = gr.Dropdown(
            [_OURS],
            value=_OURS,
            label="Map of",
            info="another model's is looked at, not played",
            visible=False,
            scale=1,
            min_width=170,
            elem_id="lam-space-map-of",
        )

    def connect(self) -> None:
        """Tie the choice to its handler."""
        tab, stage = self.tab, self.tab.stage
        shown = [stage.map, stage.overlay, stage.near]
        self.which.select(**tab.line.does(self._show, [self.which, tab.name, tab.hub], shown))

    def offered(self, space: SpaceSession, pipeline: TransferPipeline) -> Any:
        """The choice as a checkpoint has it."""
        names = list(self.tab.places.beside(pipeline))
        if space.looking is not None:
            return gr.Dropdown([_OURS, *names], visible=True)
        return gr.Dropdown([_OURS, *names], value=_OURS, visible=bool(names))

    def _show(self, which: str, name: str, hub: str, request: gr.Request) -> list[Any]:
        with Notice():
            session, space, pipeline, place = self.tab.at(name, hub, request)
            file = self.tab.places.beside(pipeline).get(which)
            space.looking, space.looked = None if file is None else self.tab.places.other(file), None
            return [
                self.tab.stage.map_html(space.looking or place, pipeline),
                self.tab.stage.drawn_over(session, space, place),
                space_views.elsewhere(place, [], []),
            ]
        return [gr.skip()] * 3

    def look(self, said: dict[str, Any], space: SpaceSession, place: Place) -> dict[Any, Any]:
        """Show what was clicked of another's map, and the nearest steps of other recordings.

        Args:
            said: by the browser.
            space: of the page.
            place: the other's.

        Raises:
            LamdemoError: there is no such step, or nothing was drawn around.
        """
        atlas, index = place.atlas, whole(said.get("index"))
        assert atlas is not None
        if said.get("kind") == "lasso":
            raw = said.get("indices")
            indices = [i for i in raw if isinstance(i, int)] if isinstance(raw, list) else []
            z, own = atlas.mean(indices), None
            space.looked = z, f"mean of {len(indices)} step{'s' if len(indices) != 1 else ''}", indices
        elif index is None or not 0 <= index < len(atlas):
            raise LamdemoError("There is no such step on this map; click one of its points.")
        else:
            z, own = atlas.latents[index], index
            space.looked = z, space_views.step_name(place, index), [index]
        near, distances = elsewhere(atlas, z, None if own is None else int(atlas.recording[own]), _MOST_NEAR)
        if own is not None:
            near, distances = [own, *near[:-1]], [0.0, *distances[:-1]]
        return {
            self.tab.stage.near: space_views.elsewhere(place, near, distances, "Look at"),
            self.tab.stage.overlay: self.drawn_over(space, place),
        }

    def drawn_over(self, space: SpaceSession, place: Place) -> str:
        """What lies on another's map: a star on what was clicked."""
        atlas = place.atlas
        if space.looked is None or atlas is None:
            return space_map.overlay_html()
        z, label, indices = space.looked
        star = {key: atlas.place(np.atleast_2d(z), key)[0] for key in atlas.coordinates}
        return space_map.overlay_html(chosen=space_map.MapChosen(indices, star, label))
