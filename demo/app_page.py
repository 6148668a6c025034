"""The page: what is where on it, and what happens when a visitor does something. Nothing is kept between visitors."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import gradio as gr
from app_answers import EXACT, PRECISIONS, Answer, Models, Results
from app_texts import CHINESE, ENGLISH, TEXTS, Texts, preferred_language
from app_view import answer_html, comparison_html, looked_caption, results_html, table_rows

from modelscope_beit.errors import BeitError

STYLE = Path(__file__).with_name("app_style.css")
# Uploads are deleted when they are an hour old; it is looked for them twice an hour.
_KEPT_SECONDS, _LOOKED_FOR_SECONDS = 3600, 1800
# Passes through the networks one after the other, so that the time of an answer is its own.
_ANSWERING: dict[str, Any] = {"concurrency_id": "answering", "concurrency_limit": 1}
# gradio would open each picture itself, and tell of a broken one in words of its own. That what comes is a file which
# this visitor has uploaded is checked before.
_AS_UPLOADED: dict[str, Any] = {"preprocess": False, "api_visibility": "private"}
_PROGRESS = gr.Progress()
_FONTS = ("system-ui", "-apple-system", "Segoe UI", "Noto Sans", "PingFang SC", "Microsoft YaHei", "sans-serif")

Words = Callable[[Texts], dict[str, Any]]


@dataclass(frozen=True)
class Panel:
    """A model's part of the page: what is asked of it, and what it says.

    answer: the last Answer to this visitor. problem: why it is not known where the model looked, or None.
    """

    model: gr.Dropdown
    precision: gr.Radio
    answer: gr.State
    problem: gr.State
    shown: gr.HTML
    looked: gr.Image
    caption: gr.HTML


class Page:
    """Builds the page: `blocks`. examples: files that a visitor can choose."""

    def __init__(self, models: Models, examples: Sequence[Path]) -> None:
        self._models, self.examples = models, [[str(path)] for path in examples]
        self._worded: list[tuple[Any, Words]] = []
        self._panels: list[Panel] = []
        with gr.Blocks(
            title=TEXTS[ENGLISH].title, analytics_enabled=False, delete_cache=(_LOOKED_FOR_SECONDS, _KEPT_SECONDS)
        ) as self.blocks:
            self._language = self._header()
            with self._add(gr.Tab, lambda texts: {"label": texts.one}):
                self._one_picture()
            with self._add(gr.Tab, lambda texts: {"label": texts.many}):
                self._many_pictures()
            with self._add(gr.Tab, lambda texts: {"label": texts.two}):
                self._two_models()
            self._add(gr.HTML, lambda texts: {"value": texts.footer}, elem_id="beit-footer")
            self._translate()
        self.blocks.queue()

    def _add(self, kind: type, words: Words, **fixed: Any) -> Any:
        """Returns a component with its words in English, which follow the language from now on."""
        component = kind(**words(TEXTS[ENGLISH]), **fixed)
        self._worded.append((component, words))
        return component

    def _header(self) -> gr.Radio:
        with gr.Row(elem_id="beit-header"):
            self._add(
                gr.HTML,
                lambda texts: {"value": f"<h1>{texts.title}</h1><p>{texts.subtitle}</p>"},
                elem_id="beit-title",
            )
            return gr.Radio(
                [ENGLISH, CHINESE], value=ENGLISH, show_label=False, container=False, elem_id="beit-language"
            )

    def _one_picture(self) -> None:
        with gr.Row():
            with gr.Column():
                picture = self._picture("beit-one")
                model, precision = self._choice(lambda texts: texts.model, place=0)
            with gr.Column():
                panel = self._panel(model, precision)
        self._answers_to(picture, panel)

    def _two_models(self) -> None:
        picture = self._picture("beit-two")
        panels, verdict = [], gr.HTML()
        with gr.Row():
            for place, which in enumerate((lambda texts: texts.first, lambda texts: texts.second)):
                with gr.Column():
                    panels.append(self._panel(*self._choice(which, place=place)))
        states = [panel.answer for panel in panels]
        for panel in panels:
            self._answers_to(picture, panel)
        gr.on(
            [state.change for state in states] + [self._language.change],
            lambda first, second, language: comparison_html(first, second, TEXTS[language]),
            [*states, self._language],
            verdict,
            show_progress="hidden",
            **_AS_UPLOADED,
        )

    def _picture(self, name: str) -> gr.Image:
        picture: gr.Image = self._add(
            gr.Image,
            lambda texts: {"label": texts.picture, "placeholder": texts.drop},
            type="filepath",
            image_mode=None,
            sources=["upload", "webcam", "clipboard"],
            height=320,
            buttons=["fullscreen"],
            elem_id=name,
            elem_classes="beit-picture",
        )
        examples = gr.Examples(self.examples, picture, label=TEXTS[ENGLISH].examples, examples_per_page=20)
        self._worded.append((examples.dataset, lambda texts: {"label": texts.examples}))
        return picture

    def _choice(self, which: Callable[[Texts], str], *, place: int) -> tuple[gr.Dropdown, gr.Radio]:
        """Returns what a visitor chooses a model and its precision with; place: of the one that is chosen at first."""
        names = self._models.names
        model = self._add(
            gr.Dropdown, lambda texts: {"label": which(texts)}, choices=names, value=names[min(place, len(names) - 1)]
        )
        # With one model only, the second panel shows it in another precision.
        precision = self._add(
            gr.Radio,
            lambda texts: {"label": texts.precision, "info": texts.precision_info},
            choices=list(PRECISIONS),
            value=PRECISIONS[-1] if place >= len(names) else EXACT,
        )
        return model, precision

    def _panel(self, model: gr.Dropdown, precision: gr.Radio) -> Panel:
        shown = gr.HTML(answer_html(None, TEXTS[ENGLISH]), elem_classes="beit-shown")
        looked = self._add(
            gr.Image,
            lambda texts: {"label": texts.looked},
            interactive=False,
            visible=False,
            height=320,
            buttons=["download", "fullscreen"],
            elem_classes="beit-looked",
        )
        panel = Panel(model, precision, gr.State(), gr.State(), shown, looked, gr.HTML())
        self._panels.append(panel)
        return panel

    def _answers_to(self, picture: gr.Image, panel: Panel) -> None:
        """Lets a panel answer when its picture, model or precision changes: bars at once, then where it looked."""

        def answer(uploaded: dict[str, Any] | None, model: str, precision: str, language: str) -> tuple[Any, ...]:
            found = None if uploaded is None else self._models.answer(uploaded["path"], model, precision)
            return found, answer_html(found, TEXTS[language])

        def look(uploaded: dict[str, Any] | None, found: Answer | None, language: str) -> tuple[Any, ...]:
            looked = problem = None
            if uploaded is not None and found is not None and found.prediction.error is None:
                try:
                    looked = self._models.looked(uploaded["path"], found)
                except BeitError as error:
                    problem = str(error)
            shown = gr.update(value=looked, visible=looked is not None)
            return shown, problem, looked_caption(found, problem, TEXTS[language])

        gr.on(
            [picture.change, panel.model.change, panel.precision.change],
            answer,
            [picture, panel.model, panel.precision, self._language],
            [panel.answer, panel.shown],
            show_progress_on=panel.shown,
            trigger_mode="always_last",
            **_ANSWERING,
            **_AS_UPLOADED,
        ).then(
            look,
            [picture, panel.answer, self._language],
            [panel.looked, panel.problem, panel.caption],
            show_progress_on=panel.caption,
            **_AS_UPLOADED,
        )

    def _many_pictures(self) -> None:
        files = self._add(gr.File, lambda texts: {"label": texts.pictures}, file_count="multiple", elem_id="beit-many")
        with gr.Row():
            model, precision = self._choice(lambda texts: texts.model, place=0)
        button = self._add(gr.Button, lambda texts: {"value": texts.classify}, variant="primary", elem_id="beit-all")
        results, summary = gr.State(), gr.HTML()
        rows = gr.Dataframe(
            interactive=False,
            wrap=True,
            visible=False,
            column_widths=["22%", "16%", "12%", "16%", "12%", "22%"],
            elem_id="beit-table",
        )

        def classify(
            uploaded: list[dict[str, Any]] | None, name: str, numbers: str, progress: Any = _PROGRESS
        ) -> Results | None:
            predictions = []
            start = time.perf_counter()
            try:
                found = self._models.answers([one["path"] for one in uploaded or ()], name, numbers)
                for one, prediction in zip(uploaded or (), found, strict=True):
                    # Where it was uploaded to says nothing to the visitor.
                    predictions.append(replace(prediction, source=one["orig_name"]))
                    progress((len(predictions), len(uploaded or ())))
            except BeitError as error:
                return Results((), 0.0, str(error))
            return Results(tuple(predictions), time.perf_counter() - start) if predictions else None

        def show(found: Results | None, language: str) -> tuple[Any, ...]:
            texts = TEXTS[language]
            predictions = () if found is None else found.predictions
            table = gr.update(
                headers=list(texts.columns),
                label=texts.answer,
                value=table_rows(predictions, texts),
                visible=bool(predictions),
            )
            return results_html(found, texts), table

        button.click(
            classify, [files, model, precision], results, show_progress_on=summary, **_ANSWERING, **_AS_UPLOADED
        )
        gr.on(
            [results.change, self._language.change],
            show,
            [results, self._language],
            [summary, rows],
            show_progress="hidden",
            **_AS_UPLOADED,
        )

    def _translate(self) -> None:
        """Lets everything follow the language, which is at first that of the visitor's browser."""

        def translate(language: str, *answers: Any) -> list[Any]:
            texts = TEXTS[language]
            worded = [gr.update(**words(texts)) for _, words in self._worded]
            found, problems = answers[: len(self._panels)], answers[len(self._panels) :]
            shown = [answer_html(answer, texts) for answer in found]
            captions = map(looked_caption, found, problems, [texts] * len(found))
            return [*worded, *shown, *captions]

        def first_language(request: gr.Request) -> str:
            return preferred_language(request.headers.get("accept-language", ""))

        panels = self._panels
        self._language.change(
            translate,
            [self._language, *(panel.answer for panel in panels), *(panel.problem for panel in panels)],
            [
                *(component for component, _ in self._worded),
                *(panel.shown for panel in panels),
                *(panel.caption for panel in panels),
            ],
            show_progress="hidden",
            **_AS_UPLOADED,
        )
        self.blocks.load(first_language, None, self._language, show_progress="hidden", api_visibility="private")


def launch(page: Page) -> None:
    """Serves the page until it is stopped; says where. GRADIO_SERVER_NAME and GRADIO_SERVER_PORT choose the place."""
    theme = gr.themes.Default(primary_hue="indigo", neutral_hue="slate", font=_FONTS, font_mono=("monospace",)).set(
        # The theme's own grey is too pale to be read easily.
        body_text_color_subdued="#475569",
        body_text_color_subdued_dark="#cbd5e1",
    )
    _, address, _ = page.blocks.launch(
        theme=theme,
        css_paths=[STYLE],
        quiet=True,
        prevent_thread_lock=True,
        ssr_mode=False,
        footer_links=[],
        run_history=False,
        max_file_size="50mb",
        allowed_paths=[str(path) for path in {Path(example).parent for (example,) in page.examples}],
        show_error=True,
    )
    print(f"The app is at {address} (Ctrl-C ends it).", flush=True)
    page.blocks.block_thread()
