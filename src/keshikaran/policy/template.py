"""The policy file that an operator starts from."""

from __future__ import annotations

from pathlib import Path

from keshikaran.errors import UsageError
from keshikaran.hashing import write_error

POLICY_TEMPLATE = """\
# What is objectionable on this site, and what is asked of the classifier.
# As it stands, this file asks for what `keshikaran train` does without one.
# Check it after editing: keshikaran policy check

# What must not be shown, and what may be, in a sentence each. Reports and models carry these words.
objectionable = "objectionable"
acceptable = "acceptable"

# How common objectionable images are among uploads: a share such as 0.01 for one in a hundred,
# or "as in these labels" if the labelled images are as mixed as the uploads.
# Scores are probabilities under this prevalence, so a guess of the right size is better than none.
prevalence = "as in these labels"

# How many images arrive a day. Makes expected numbers a day out of shares.
# uploads_per_day = 10_000

# What is asked. Leave out what does not matter; give [costs] instead if you know them.
[demands]

# Of 100 objectionable images, how many must be blocked or shown to a person. Decides `review`.
min_recall = 0.95

# Share of acceptable images that may be blocked without a person looking. Decides `block`.
# Without it, `block` is where precision and recall are best together (F1).
# max_false_positive_rate = 0.01

# Images a day that your people can look at; needs uploads_per_day. It is kept even where
# min_recall must give way to it: what nobody has time to look at is not found either.
# review_budget_per_day = 200

# How sure a promise must be. With fewer labels than that takes, no promise is made, and you are
# told how many are missing.
confidence = 0.95

# Or say what mistakes cost, and leave [demands] out: the cheapest thresholds follow.
# Any unit will do: only the ratios count.
# [costs]
# miss = 50         # an objectionable image passes
# false_alarm = 5   # an acceptable image is blocked
# review = 1        # a person looks at an image
"""


def write_policy_template(path: Path) -> None:
    """Write a commented policy file that equals the default policy; never over another file.

    Raises:
        UsageError: there is something at `path` already.
        StoreError: it cannot be written.
    """
    try:
        with path.open("x", encoding="utf-8", newline="\n") as file:
            file.write(POLICY_TEMPLATE)
    except FileExistsError as error:
        msg = f"{path} is there already; it is left as it is."
        raise UsageError(msg, "Edit it, or give another name.") from error
    except OSError as error:
        raise write_error(path, error) from error
