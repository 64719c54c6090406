"""Directions and clusters: what each does, and what it is called."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import gradio as gr

from lamdemo.core.errors import LamdemoError
from lamdemo.ui.notices import Notice
from lamdemo.ui.sessions import Session
from lamdemo.ui.space import style
from lamdemo.ui.space import views as space_views
from lamdemo.ui.space.common import (
    Part,
    all_directions,
    data_of,
    direction_of,
    names_of,
    of_kind,
)
from lamdemo.ui.space.work import Place, SpaceSession
from lamdemo.ui.waiting import QUIET

if TYPE_CHECKING:
    pass


class DirectionsPanel(Part):
    """Directions and clusters."""

    def lay_out(self) -> None:
        """Make the controls."""
        gr.HTML(
            "<h2>Each dot is a motion. Click it and your picture moves that way.</h2><p>The arrows are motions that "
            "have a name; dots near each other do alike.</p>",
            elem_id="lam-space-intro",
        )
        self.cards = gr.HTML("", js_on_load=style.CLICKS, elem_id="lam-directions-view")

    def lay_out_names(self) -> None:
        """Make what chooses and names directions, folded."""
        with gr.Accordion("More directions, and names", open=False, elem_id="lam-space-fold-names"):
            self.which = gr.Radio(
                [
                    ("Known motion", "probe"),
                    ("Principal", "principal"),
                    ("Sparse", "sparse"),
                    ("Clusters", "cluster"),
                ],
                value="probe",
                label="Show",
                elem_id="lam-directions-kind",
            )
            gr.HTML(
                '<p class="lam-note">Arrows: the mean motion that each causes on several pictures. Names come from a '
                "probe of that motion; give better ones.</p>"
            )
            with gr.Row():
                self.chosen = gr.Textbox(
                    "", label="Chosen", interactive=False, min_width=110, elem_id="lam-direction-key"
                )
                self.new_name = gr.Textbox(
                    "", label="Its name", max_lines=1, max_length=60, min_width=200, elem_id="lam-direction-name"
                )
                self.rename = gr.Button("Rename", size="sm", min_width=90, elem_id="lam-direction-rename")
            with gr.Row():
                self.save_names = gr.DownloadButton(
                    "↓ Save names", size="sm", min_width=120, interactive=False, elem_id="lam-names-save"
                )
                self.load_names = gr.UploadButton(
                    "Load names", file_types=[".json"], size="sm", min_width=120, elem_id="lam-names-load"
                )

    def connect(self) -> None:
        """Tie the controls to their handlers."""
        tab, stage = self.tab, self.tab.stage
        here = [self.which, tab.name, tab.hub]
        renamed = [self.cards, tab.playing.pad, stage.overlay, self.save_names, tab.kept]
        shown = [*stage.shows, self.cards, self.chosen, self.new_name]
        acts = stage.line.does(self._on_direction, {*stage.aim, self.which}, shown, stage.course)
        self.cards.click(**acts, trigger_mode="multiple")
        self.which.input(self._show, here, self.cards, **QUIET)
        gr.on(
            [self.rename.click, self.new_name.submit],
            self._rename,
            [self.chosen, self.new_name, *here, tab.kept],
            renamed,
            **QUIET,
        )
        self.load_names.upload(self._load_names, [self.load_names, *here, tab.kept], renamed, **QUIET)

    def _show(self, which: str, name: str, hub: str, request: gr.Request) -> Any:
        with Notice():
            _, space, _, place = self.tab.at(name, hub, request)
            return space_views.directions(place, of_kind(place, which), names_of(place, space))
        return gr.skip()

    def _on_direction(self, data: dict[Any, Any], event: gr.EventData, request: gr.Request) -> Iterator[dict[Any, Any]]:
        from lamdemo.latent_space.composition import Term

        yield {self.tab.stage.view: gr.skip()}  # a generator that yields nothing would clear what it may change
        said = data_of(event)
        with Notice():
            session, space, pipeline, place = self.tab.at(data[self.tab.name], data[self.tab.hub], request)
            if said.get("act") == "point":
                yield from self.tab.stage.on_map(data, event, request)
                return
            found = direction_of(place, said.get("key"))
            if found is None:
                return
            back = said.get("act") == "reverse"
            names = names_of(place, space)
            word = names[found.key] or found.key
            backwards = names[f"-{found.key}"] or f"{word}, reversed"
            term = Term((-found.z if back else found.z)[None], backwards if back else word)
            yield {
                self.cards: space_views.directions(
                    place, of_kind(place, data[self.which]), names_of(place, space), chosen=found.key
                ),
                self.chosen: f"-{found.key}" if back else found.key,
                self.new_name: names[f"-{found.key}"] if back else names[found.key],
            }
            yield from self.tab.stage.carry_out(data, term, session, space, pipeline, place)

    def _rename(self, key: str, new: str, which: str, name: str, hub: str, kept: Any, request: gr.Request) -> list[Any]:
        from lamdemo.latent_space.naming import NameBook

        with Notice():
            session, space, _, place = self.tab.at(name, hub, request)
            if direction_of(place, key) is None:
                raise LamdemoError("No direction is chosen; click the arrows of one first.")
            # Without a name it is the probe's own again.
            space.names = dict(NameBook(space.checkpoint, space.names).named(key, new or "").names)
            return self._named(which, session, space, place, kept)
        return [gr.skip()] * 5

    def _named(self, which: str, session: Session, space: SpaceSession, place: Place, kept: Any) -> list[Any]:
        kept = kept if isinstance(kept, dict) else {}
        names = kept.get("names")
        mine = {space.checkpoint[:16]: dict(space.names)}
        return [
            space_views.directions(place, of_kind(place, which), names_of(place, space)),
            self.tab.playing.buttons(space, place),
            self.tab.stage.drawn_over(session, space, place),
            self.book(session, space, place),
            kept | {"names": (names if isinstance(names, dict) else {}) | mine},
        ]

    def book(self, session: Session, space: SpaceSession, place: Place) -> Any:
        """The button that saves the names, with the file it gives."""
        from lamdemo.latent_space.naming import NameBook

        names = {key: name for key, name in names_of(place, space).items() if name}
        if not names:
            return gr.DownloadButton(value=None, interactive=False)
        with session.place("names") as folder:
            path = NameBook(space.checkpoint, names).save(folder / "names.json")
        return gr.DownloadButton(value=str(path), interactive=True)

    def _load_names(
        self, path: str | None, which: str, name: str, hub: str, kept: Any, request: gr.Request
    ) -> list[Any]:
        from lamdemo.latent_space.naming import NameBook

        with Notice():
            session, space, pipeline, place = self.tab.at(name, hub, request)
            if path:
                book = NameBook.load(path)
                book.check(pipeline.checkpoint)
                keys = {d.key for d in all_directions(place)}
                space.names = {k: v for k, v in book.names.items() if k.removeprefix("-") in keys}
            return self._named(which, session, space, place, kept)
        return [gr.skip()] * 5
