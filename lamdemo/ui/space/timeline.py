"""The timeline: arithmetic of actions in blocks, kept, shared and applied."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import gradio as gr

from lamdemo.core.errors import LamdemoError
from lamdemo.jobs.turns import Units
from lamdemo.ui.notices import Notice
from lamdemo.ui.sessions import Session
from lamdemo.ui.space import style
from lamdemo.ui.space import views as space_views
from lamdemo.ui.space.common import (
    KEEP_LIMIT,
    STEPS,
    Part,
    chosen_of,
    data_of,
    number,
    whole,
)
from lamdemo.ui.space.work import SpaceSession
from lamdemo.ui.waiting import QUIET

if TYPE_CHECKING:
    from lamdemo.engine import TransferPipeline
    from lamdemo.latent_space.composition import Composition


class Timeline(Part):
    """The timeline."""

    def lay_out(self) -> None:
        """Make the controls, folded until there is something on the timeline."""
        with gr.Accordion(
            "Timeline: one motion after another", open=False, elem_classes="lam-card", elem_id="lam-space-fold-timeline"
        ) as self.fold:
            self.blocks = gr.HTML(space_views.timeline(None, 0), js_on_load=style.CLICKS, elem_id="lam-space-timeline")
            gr.HTML(
                '<p class="lam-note">Append puts the motion on the stage after the last block, Combine adds it to the '
                "chosen block so that both happen at once, and Append a blend puts something between the last two "
                "motions at the end.</p>"
            )
            with gr.Row():
                self.add_after = gr.Button("Append", size="sm", min_width=90, elem_id="lam-space-then")
                self.add_into = gr.Button("Combine", size="sm", min_width=90, elem_id="lam-space-plus")
                self.add_between = gr.Button("Append a blend", size="sm", min_width=120, elem_id="lam-space-between")
                self.share = gr.Slider(
                    0,
                    1,
                    0.5,
                    step=0.05,
                    label="Blend: the motion before (0) to this one (1)",
                    buttons=[],
                    min_width=240,
                    elem_id="lam-space-share",
                )
            self._lay_out_block()
            with gr.Row():
                self.apply = gr.Button(
                    "Apply the timeline", variant="primary", min_width=170, elem_id="lam-space-apply"
                )
                self.save = gr.DownloadButton(
                    "↓ Save as .npz", size="sm", min_width=120, interactive=False, elem_id="lam-space-save"
                )
                self.load = gr.UploadButton(
                    "Load .npz", file_types=[".npz"], size="sm", min_width=110, elem_id="lam-space-load"
                )
            self.zero = gr.HTML("", elem_id="lam-space-zero")

    def _lay_out_block(self) -> None:
        """Make the controls of the chosen block."""
        with gr.Row():
            self.block_strength = gr.Slider(
                -3,
                3,
                1,
                step=0.1,
                label="Block's strength",
                buttons=[],
                min_width=150,
                elem_id="lam-block-strength",
            )
            self.block_repeat = gr.Slider(
                1, 50, 1, step=1, label="Block's repeats", buttons=[], min_width=150, elem_id="lam-block-repeat"
            )
            self.block_reverse = gr.Checkbox(
                False, label="Undo it: each step's opposite, the last first", elem_id="lam-block-reverse"
            )
        with gr.Row():
            self.earlier = gr.Button("← Earlier", size="sm", min_width=90, elem_id="lam-block-earlier")
            self.later = gr.Button("Later →", size="sm", min_width=90, elem_id="lam-block-later")
            self.remove = gr.Button("Remove", size="sm", min_width=90, elem_id="lam-block-remove")
            self.clear = gr.Button("Clear all", size="sm", min_width=90, elem_id="lam-space-clear")
            self.smooth = gr.Slider(
                0,
                8,
                0,
                step=0.25,
                label="Smooth over steps",
                buttons=[],
                min_width=160,
                elem_id="lam-space-smooth",
            )

    def connect(self) -> None:
        """Tie the controls to their handlers."""
        tab = self.tab
        edited = [*self.shows, tab.stage.old, tab.kept]
        state = [tab.name, tab.hub, tab.kept]
        held = [tab.stage.strength, tab.stage.steps]
        self.add_after.click(self._add_after, [*held, *state], edited, **QUIET)
        self.add_into.click(self._add_into, [*held, *state], edited, **QUIET)
        self.add_between.click(self._add_between, [self.share, tab.stage.steps, *state], edited, **QUIET)
        stage = tab.stage
        self.share.release(**stage.line.does(self._preview, {*stage.aim, self.share}, stage.shows, stage.course))
        self.blocks.click(self._choose_block, tab.kept, edited, **QUIET)
        gr.on(
            [self.block_strength.input, self.block_repeat.input, self.block_reverse.input, self.smooth.input],
            self._change_block,
            [self.block_strength, self.block_repeat, self.block_reverse, self.smooth, tab.kept],
            [self.blocks, self.save, tab.stage.old, tab.kept],
            trigger_mode="always_last",
            **QUIET,
        )
        for button, handler in (
            (self.earlier, self._earlier),
            (self.later, self._later),
            (self.remove, self._remove_block),
            (self.clear, self._clear),
        ):
            button.click(handler, tab.kept, edited, **QUIET)
        self.apply.click(**stage.line.does(self.play, {*stage.aim, tab.kept}, stage.shows, self.course))
        self.load.upload(self._load, [self.load, *state], edited, **QUIET)

    @property
    def shows(self) -> list[Any]:
        """What a change of the timeline changes."""
        return [self.blocks, self.block_strength, self.block_repeat, self.block_reverse, self.smooth, self.save]

    def kept(self, session: Session, kept: Any) -> dict[str, Any]:
        """What the browser keeps, with the timeline as it is now."""
        kept = kept if isinstance(kept, dict) else {}
        space = session.space
        if space is None or not space.restored:
            return kept
        text = None
        if space.timeline is not None and space.timeline.blocks:
            text = space.timeline.encode(limit=KEEP_LIMIT)
        timelines = kept.get("timelines")
        return kept | {"timelines": (timelines if isinstance(timelines, dict) else {}) | {space.checkpoint[:16]: text}}

    def shown(self, session: Session) -> list[Any]:
        """The timeline and the controls of its chosen block, and the file to save."""
        space = session.space
        assert isinstance(space, SpaceSession)
        made = space.timeline
        if made is None or not made.blocks:
            off = gr.DownloadButton(value=None, interactive=False)
            return [
                space_views.timeline(None, 0),
                gr.skip(),
                gr.skip(),
                gr.skip(),
                0.0 if made is None else made.smooth,
                off,
            ]
        space.block = min(max(space.block, 0), len(made.blocks) - 1)
        block = made.blocks[space.block]
        with session.place("timeline") as folder:
            file = made.save(folder / "actions.npz")
        return [
            space_views.timeline(made, space.block),
            block.strength,
            block.repeat,
            block.reverse,
            made.smooth,
            gr.DownloadButton(value=str(file), interactive=True),
        ]

    def _edited(self, kept: Any, request: gr.Request) -> list[Any]:
        session = self.tab.session(request)
        return [*self.shown(session), space_views.old(self.tab.space(request)), self.kept(session, kept)]

    def _with(self, space: SpaceSession, pipeline: TransferPipeline) -> Composition:
        from lamdemo.latent_space.composition import Composition

        return space.timeline or Composition((), pipeline.fps, pipeline.checkpoint)

    def _here(self, name: str, hub: str, kept: Any, request: gr.Request) -> tuple[SpaceSession, TransferPipeline]:
        """What goes on with a checkpoint, with the timeline that the browser kept."""
        self.tab.recall(kept, request)
        _, space, pipeline, _ = self.tab.at(name, hub, request)
        return space, pipeline

    def _add_after(
        self, strength: float, steps: float, name: str, hub: str, kept: Any, request: gr.Request
    ) -> list[Any]:
        from lamdemo.latent_space.composition import Block

        with Notice():
            space, pipeline = self._here(name, hub, kept, request)
            term = chosen_of(space)
            repeat = int(number(steps, STEPS)) if len(term.z) == 1 else 1
            block = Block((term,), strength=float(number(strength, 1.0)), repeat=repeat)
            space.timeline = self._with(space, pipeline).append(block)
            space.block = len(space.timeline.blocks) - 1
        return self._edited(kept, request)

    def _add_into(
        self, strength: float, steps: float, name: str, hub: str, kept: Any, request: gr.Request
    ) -> list[Any]:
        from dataclasses import replace

        with Notice():
            space, pipeline = self._here(name, hub, kept, request)
            term, made = chosen_of(space), self._with(space, pipeline)
            if not made.blocks:
                return self._add_after(strength, steps, name, hub, kept, request)
            block = made.blocks[min(space.block, len(made.blocks) - 1)]
            added = replace(term, weight=float(number(strength, 1.0)))
            space.timeline = made.put(space.block, replace(block, terms=(*block.terms, added)))
        return self._edited(kept, request)

    def _add_between(
        self, share: float, steps: float, name: str, hub: str, kept: Any, request: gr.Request
    ) -> list[Any]:
        from lamdemo.latent_space.composition import Block

        with Notice():
            space, pipeline = self._here(name, hub, kept, request)
            term = chosen_of(space)
            if space.before is None:
                raise LamdemoError("There is only one action yet; click a second one to go between the two.")
            block = Block.between(space.before, term, float(number(share, 0.5)), repeat=int(number(steps, STEPS)))
            space.timeline = self._with(space, pipeline).append(block)
            space.block = len(space.timeline.blocks) - 1
        return self._edited(kept, request)

    def _preview(self, data: dict[Any, Any], request: gr.Request) -> Iterator[dict[Any, Any]]:
        """The slider between two actions was let go: what lies there happens on the stage."""
        from lamdemo.latent_space.composition import Block, Composition

        stage = self.tab.stage
        yield {stage.view: gr.skip()}  # a generator that yields nothing would clear what it may change
        with Notice():
            session, space, pipeline, _ = self.tab.at(data[self.tab.name], data[self.tab.hub], request)
            if space.before is None or space.chosen is None:
                return  # there is nothing to go between yet, and nothing wrong with trying the slider
            share = float(number(data[self.share], 0.5))
            block = Block.between(space.before, space.chosen, share, repeat=int(number(data[stage.steps], STEPS)))
            made = Composition((block,), pipeline.fps, pipeline.checkpoint)
            yield from stage.perform(data, made, block.label, session, pipeline, {})

    def _choose_block(self, kept: Any, event: gr.EventData, request: gr.Request) -> list[Any]:
        index = whole(data_of(event).get("block"))
        if index is not None:
            self.tab.recall(kept, request).block = index
        return self._edited(kept, request)

    def _change_block(
        self, strength: float, repeat: float, backwards: bool, smooth: float, kept: Any, request: gr.Request
    ) -> list[Any]:
        from dataclasses import replace

        with Notice():
            space = self.tab.recall(kept, request)
            if space.timeline is not None and space.timeline.blocks:
                old = space.timeline.blocks[space.block]
                block = replace(
                    old, strength=float(number(strength, 1.0)), repeat=int(number(repeat, 1)), reverse=bool(backwards)
                )
                space.timeline = replace(space.timeline.put(space.block, block), smooth=float(number(smooth, 0.0)))
        edited = self._edited(kept, request)
        return [edited[0], *edited[-3:]]

    def _earlier(self, kept: Any, request: gr.Request) -> list[Any]:
        return self._move_block(-1, kept, request)

    def _later(self, kept: Any, request: gr.Request) -> list[Any]:
        return self._move_block(1, kept, request)

    def _move_block(self, by: int, kept: Any, request: gr.Request) -> list[Any]:
        with Notice():
            space = self.tab.recall(kept, request)
            if space.timeline is not None and space.timeline.blocks:
                to = min(max(space.block + by, 0), len(space.timeline.blocks) - 1)
                space.timeline = space.timeline.move(space.block, to)
                space.block = to
        return self._edited(kept, request)

    def _remove_block(self, kept: Any, request: gr.Request) -> list[Any]:
        with Notice():
            space = self.tab.recall(kept, request)
            if space.timeline is not None and space.timeline.blocks:
                space.timeline = space.timeline.remove(space.block)
        return self._edited(kept, request)

    def _clear(self, kept: Any, request: gr.Request) -> list[Any]:
        space = self.tab.recall(kept, request)
        space.timeline, space.block = None, 0
        return self._edited(kept, request)

    def course(self, data: dict[Any, Any], request: gr.Request) -> list[Units]:
        """What the timeline comes to."""
        made = self.tab.space(request).timeline
        return self.tab.stage.units(0 if made is None else len(made))

    def play(self, data: dict[Any, Any], request: gr.Request) -> Iterator[dict[Any, Any]]:
        """Carry out the timeline on the target, on the stage."""
        yield {self.tab.stage.view: gr.skip()}  # a generator that yields nothing would clear what it may change
        with Notice():
            self.tab.recall(data[self.tab.kept], request)
            session, space, pipeline, _ = self.tab.at(data[self.tab.name], data[self.tab.hub], request)
            made = self._with(space, pipeline)
            count = len(made.blocks)
            label = made.blocks[0].label if count == 1 else f"the timeline of {count} blocks"
            yield from self.tab.stage.perform(data, made, label, session, pipeline, {})

    def _load(self, path: str | None, name: str, hub: str, kept: Any, request: gr.Request) -> list[Any]:
        from lamdemo.latent_space.composition import Composition

        with Notice():
            space, pipeline = self._here(name, hub, kept, request)
            if path:
                made = Composition.load(path)
                # Refused here and not at the first click: what was on the timeline stays.
                pipeline.check(made.latents())
                space.timeline, space.block = made, 0
        return self._edited(kept, request)
