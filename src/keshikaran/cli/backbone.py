"""Commands about networks: backbone add, backbone list, backbone remove."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from keshikaran.backbones import DEFAULT_BACKBONE, load_backbone
from keshikaran.backbones.registered import (
    BackboneRecord,
    backbones_folder,
    read_record,
    registered_names,
    unregister,
)
from keshikaran.cli.console import printable, result, say
from keshikaran.cli.options import (
    IsolationOption,
    JsonOption,
    WorkspaceOption,
    need_training,
    open_workspace,
)

if TYPE_CHECKING:
    from keshikaran.zoo import Added

backbone_app = typer.Typer(
    help="Add, list and remove networks that turn pixels into features.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@backbone_app.command("add")
def add_command(
    source: Annotated[
        str,
        typer.Argument(
            metavar="timm:NAME|package:NAME|FILE.onnx",
            help="A network of timm, the weights in an installed package, or an ONNX file.",
            show_default=False,
        ),
    ],
    name: Annotated[
        str, typer.Option(help="What to call it; default: after its source.", show_default=False)
    ] = "",
    licence: Annotated[
        str,
        typer.Option(help="Of the weights; default: what the source says.", show_default=False),
    ] = "",
    random_weights: Annotated[
        bool, typer.Option("--random", help="timm: random weights, for trials; no download.")
    ] = False,
    isolation: IsolationOption = "process",
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Add a network: made, checked on pictures, measured, and kept under a name."""
    need_training("Adding a backbone")
    from keshikaran.zoo import AddRequest, add_backbone, check_request
    from keshikaran.zoo.pictures import check_pictures

    request = AddRequest(source, name, licence, random_weights)
    check_request(request)
    with check_pictures(open_workspace(workspace), isolation) as pictures:
        added = add_backbone(request, pictures)
    if as_json:
        result(json.dumps({**added.record.to_dict(), "difference": added.difference}))
        return
    _show(added)


@backbone_app.command("list")
def list_command(as_json: JsonOption = False) -> None:
    """Say which networks `--backbone` knows by name."""
    rows = [_embedded(), *_records()]
    if as_json:
        result(json.dumps(rows))
        return
    for row in rows:
        cost = "–" if row["ms_per_image"] is None else f"{row['ms_per_image']:.1f} ms"
        size = f"{row['height']}×{row['width']}"
        result(
            f"{row['name']:<32} {size:>9} {row['dim']:>5} {row['bytes'] / 1e6:>7.1f} MB"
            f" {cost:>10}  {printable(row['licence'])}"
        )
    say(f"Those that were added lie in {printable(str(backbones_folder()))}.")
    say("Next: keshikaran compare-backbones NAME NAME")


@backbone_app.command("remove")
def remove_command(
    name: Annotated[str, typer.Argument(help="As `backbone list` shows it.")],
    as_json: JsonOption = False,
) -> None:
    """Forget a network that was added; models that contain it go on working."""
    unregister(name)
    if as_json:
        result(json.dumps({"removed": name}))
        return
    result(f"removed {name}")
    say("Next: keshikaran backbone list")


def _show(added: Added) -> None:
    record = added.record
    result(f"{'name':<14} {record.name}")
    result(f"{'input':<14} {record.height}×{record.width}")
    result(f"{'features':<14} {record.dim:,}")
    result(f"{'size':<14} {record.bytes / 1e6:.1f} MB")
    result(f"{'cost':<14} {record.ms_per_image:.1f} ms an image (f32, one stream)")
    result(f"{'licence':<14} {printable(record.licence)}")
    result(f"{'digest':<14} {record.digest}")
    if added.difference is not None:
        say(
            f"On {added.checked_on} pictures its features are those of torch to"
            f" {added.difference:.1g} of the largest."
        )
    if record.random_weights:
        say("Its weights are random: for trials only.")
    elif record.licence == "unknown":
        say("Nobody said under which licence its weights are: look it up, and add --licence.")
    say(f"Next: keshikaran compare-backbones {DEFAULT_BACKBONE} {record.name}")


def _records() -> list[dict[str, Any]]:
    found = (read_record(name) for name in registered_names())
    return [record.to_dict() for record in found if isinstance(record, BackboneRecord)]


def _embedded() -> dict[str, Any]:
    """The network in the package, which nobody measured here."""
    backbone = load_backbone(DEFAULT_BACKBONE)
    record = BackboneRecord(
        name=backbone.name,
        digest=backbone.digest,
        bytes=len(backbone.model),
        height=backbone.height,
        width=backbone.width,
        dim=backbone.dim,
        licence=backbone.licence,
        source="in the package",
        source_sha256="",
        ms_per_image=0.0,
        processor="",
    )
    return {**record.to_dict(), "ms_per_image": None}
