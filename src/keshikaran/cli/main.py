"""`keshikaran COMMAND`: import → label → split → train → predict."""

from __future__ import annotations

import io
import sys
import traceback
from typing import Annotated

import typer

from keshikaran.cli.audit import audit_command
from keshikaran.cli.backbone import backbone_app
from keshikaran.cli.compare import compare_command
from keshikaran.cli.compare_backbones import compare_backbones_command
from keshikaran.cli.console import printable, say
from keshikaran.cli.data import (
    import_command,
    status_command,
)
from keshikaran.cli.demo import demo_command
from keshikaran.cli.evaluate import evaluate_command
from keshikaran.cli.export_memory import export_memory_command
from keshikaran.cli.featurize import featurize_command
from keshikaran.cli.import_urls import import_urls_command
from keshikaran.cli.label import label_command
from keshikaran.cli.maintain import fsck_command, gc_command, rebuild_command
from keshikaran.cli.models import models_app
from keshikaran.cli.policy import policy_app
from keshikaran.cli.predict import predict_command
from keshikaran.cli.promote import promote_command, rollback_command
from keshikaran.cli.report import report_command
from keshikaran.cli.review import review_labels_command
from keshikaran.cli.serve import serve_command
from keshikaran.cli.show import show_command
from keshikaran.cli.similar import similar_command
from keshikaran.cli.split import link_command, split_command
from keshikaran.cli.suggest import suggest_command
from keshikaran.cli.train import train_command
from keshikaran.errors import KeshikaranError
from keshikaran.version import __version__

_INTERRUPTED = 130

app = typer.Typer(
    name="keshikaran",
    help="Train, judge and use an image classifier for your own moderation policy."
    " The way: import → store → label → split → featurize → fit → evaluate → bundle → predict."
    " New here? Run: keshikaran demo",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("demo")(demo_command)
app.command("import")(import_command)
app.command("import-urls")(import_urls_command)
app.command("label")(label_command)
app.command("review-labels")(review_labels_command)
app.command("split")(split_command)
app.command("link")(link_command)
app.command("featurize")(featurize_command)
app.command("audit")(audit_command)
app.command("status")(status_command)
app.command("show")(show_command)
app.command("fsck")(fsck_command)
app.command("gc")(gc_command)
app.command("rebuild")(rebuild_command)
app.add_typer(policy_app, name="policy")
app.add_typer(backbone_app, name="backbone")
app.command("compare-backbones")(compare_backbones_command)
app.command("suggest")(suggest_command)
app.command("train")(train_command)
app.command("compare")(compare_command)
app.command("evaluate")(evaluate_command)
app.command("report")(report_command)
app.command("promote")(promote_command)
app.command("rollback")(rollback_command)
app.add_typer(models_app, name="models")
app.command("predict")(predict_command)
app.command("similar")(similar_command)
app.command("export-memory")(export_memory_command)
app.command("serve")(serve_command)


def _show_version(wanted: bool) -> None:
    if wanted:
        sys.stdout.write(f"keshikaran {__version__}\n")
        raise typer.Exit


@app.callback()
def _main(
    debug: Annotated[
        bool, typer.Option("--debug", help="Show tracebacks of errors; anywhere on the line.")
    ] = False,
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    return


def run(arguments: list[str] | None = None) -> None:
    """Run the command line and end the process with a documented exit code.

    0 done; 1 failed; 2 wrong usage; 3 done, but some images stayed undecided or were skipped;
    130 interrupted.
    """
    _accept_any_name()
    sys.exit(main(arguments))


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    given = sys.argv[1:] if arguments is None else arguments
    debug = "--debug" in given
    try:
        app(args=[word for word in given if word != "--debug"])
    except KeshikaranError as error:
        return _explain(error, debug=debug)
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 0
        if code == _INTERRUPTED:
            say("Interrupted. What was done is kept; run the same command again to go on.")
        return code
    except Exception as error:  # a defect; people get words all the same
        return _explain(_unexpected(error), debug=debug)
    return 0


def _accept_any_name() -> None:
    """File names need not fit the terminal's encoding: none of them ends the program."""
    for stream, errors in ((sys.stdin, "surrogateescape"), (sys.stdout, "backslashreplace")):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=errors)


def _unexpected(error: Exception) -> KeshikaranError:
    what = KeshikaranError(
        f"something unexpected happened: {type(error).__name__}: {error}",
        "Run the same command with --debug and report what it shows.",
    )
    what.__cause__ = error
    return what


def _explain(error: KeshikaranError, *, debug: bool) -> int:
    if debug:
        traceback.print_exception(error)
    say(f"keshikaran: {printable(error.what)}")
    if error.hint:
        say(f"  {printable(error.hint)}")
    return error.exit_code
