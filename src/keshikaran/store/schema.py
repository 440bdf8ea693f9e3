"""The tables of a workspace, as numbered migrations. Only ever add one at the end."""

from __future__ import annotations

CATALOGUE_MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        """
        CREATE TABLE images (
            image_id TEXT PRIMARY KEY,
            object_id TEXT NOT NULL,
            format TEXT NOT NULL,
            bytes INTEGER NOT NULL,
            width INTEGER NOT NULL,
            height INTEGER NOT NULL,
            imported_at TEXT NOT NULL
        )
        """,
        "CREATE INDEX images_by_object_id ON images (object_id)",
        # Where the same bytes were met: one row an entry of a source.
        """
        CREATE TABLE sources (
            root TEXT NOT NULL,
            entry TEXT NOT NULL,
            image_id TEXT NOT NULL REFERENCES images (image_id),
            PRIMARY KEY (root, entry, image_id)
        )
        """,
        "CREATE INDEX sources_by_image ON sources (image_id)",
        # Append-only. `claim` is the entry that carries an imported label, or '' for a person.
        """
        CREATE TABLE label_events (
            id INTEGER PRIMARY KEY,
            image_id TEXT NOT NULL REFERENCES images (image_id),
            value INTEGER CHECK (value IN (0, 1)),
            kind TEXT NOT NULL CHECK (kind IN ('import', 'person')),
            claim TEXT NOT NULL,
            who TEXT NOT NULL,
            why TEXT NOT NULL,
            at TEXT NOT NULL
        )
        """,
        "CREATE INDEX label_events_by_image ON label_events (image_id, kind, claim, id)",
        # What each claim says now: its last event. (A bare column beside MAX *and* MIN would
        # come from either row.)
        """
        CREATE VIEW claims AS
            SELECT ends.image_id, ends.kind, ends.claim, last.value, event_id, first_event_id
            FROM (
                SELECT image_id, kind, claim, MAX(id) AS event_id, MIN(id) AS first_event_id
                FROM label_events GROUP BY image_id, kind, claim
            ) AS ends JOIN label_events AS last ON last.id = ends.event_id
        """,
        # From that, each image's label. A person's word counts more than any import, unless it
        # was taken back; imports that disagree make a contradiction.
        """
        CREATE VIEW labels AS
            SELECT image_id,
                CASE
                    WHEN SUM(kind = 'person' AND value IS NOT NULL) > 0
                        THEN MAX(CASE WHEN kind = 'person' THEN value END)
                    WHEN MIN(value) = MAX(value) THEN MIN(value)
                END AS value,
                SUM(kind = 'person' AND value IS NOT NULL) = 0
                    AND MIN(value) <> MAX(value) AS contradictory,
                MIN(first_event_id) AS position
            FROM claims GROUP BY image_id
        """,
        """
        CREATE TABLE splits (
            image_id TEXT PRIMARY KEY REFERENCES images (image_id),
            split TEXT NOT NULL CHECK (split IN ('train', 'validation', 'test'))
        )
        """,
        """
        CREATE TABLE skipped (
            root TEXT NOT NULL,
            entry TEXT NOT NULL,
            reason TEXT NOT NULL,
            detail TEXT NOT NULL,
            at TEXT NOT NULL,
            PRIMARY KEY (root, entry)
        )
        """,
        "CREATE TABLE settings (name TEXT PRIMARY KEY, value TEXT NOT NULL)",
    ),
    (
        # What need not be read again. A cache: no row of it is ever the only one to say something.
        """
        CREATE TABLE fingerprints (
            root TEXT NOT NULL,
            entry TEXT NOT NULL,
            rules TEXT NOT NULL,
            stamp TEXT NOT NULL,
            image_id TEXT NOT NULL,
            PRIMARY KEY (root, entry)
        ) WITHOUT ROWID
        """,
    ),
    (
        # How much of the journal these tables hold.
        """
        CREATE TABLE journal_position (
            one INTEGER PRIMARY KEY CHECK (one = 1),
            id TEXT NOT NULL,
            bytes INTEGER NOT NULL,
            transactions INTEGER NOT NULL
        )
        """,
        # Images whose file a check found missing or damaged; importing the original repairs it.
        """
        CREATE TABLE damaged_objects (
            image_id TEXT PRIMARY KEY REFERENCES images (image_id),
            found_at TEXT NOT NULL
        )
        """,
        """
        CREATE TRIGGER label_events_stay BEFORE DELETE ON label_events
        BEGIN SELECT RAISE(ABORT, 'label history is never deleted'); END
        """,
        """
        CREATE TRIGGER label_events_stay_the_same BEFORE UPDATE ON label_events
        BEGIN SELECT RAISE(ABORT, 'label history is never changed'); END
        """,
        # INSERT OR REPLACE deletes without asking the trigger above.
        """
        CREATE TRIGGER label_events_are_new BEFORE INSERT ON label_events
        WHEN EXISTS (SELECT 1 FROM label_events WHERE id = NEW.id)
        BEGIN SELECT RAISE(ABORT, 'label history is never changed'); END
        """,
    ),
    (
        # Copies of one photograph: what was found, and the groups that follow. An image that is
        # in no row of group_members is a group of its own.
        """
        CREATE TABLE duplicate_pairs (
            first TEXT NOT NULL REFERENCES images (image_id),
            second TEXT NOT NULL REFERENCES images (image_id),
            turn TEXT NOT NULL,
            scale REAL NOT NULL,
            overlap REAL NOT NULL,
            agreement REAL NOT NULL,
            similarity REAL NOT NULL,
            rules INTEGER NOT NULL,
            PRIMARY KEY (first, second),
            CHECK (first < second)
        ) WITHOUT ROWID
        """,
        """
        CREATE TABLE group_members (
            image_id TEXT PRIMARY KEY REFERENCES images (image_id),
            group_id TEXT NOT NULL
        ) WITHOUT ROWID
        """,
        "CREATE INDEX group_members_by_group ON group_members (group_id)",
        # Labelled images on no side, since a twin of theirs is on one that they must not teach.
        """
        CREATE TABLE set_aside (
            image_id TEXT PRIMARY KEY REFERENCES images (image_id),
            twin TEXT NOT NULL REFERENCES images (image_id),
            side TEXT NOT NULL CHECK (side IN ('validation', 'test'))
        ) WITHOUT ROWID
        """,
    ),
    (
        # Images that were compared with all others of this table under the same rules. A cache;
        # it lies beside the pairs, so that it can never outlive them.
        """
        CREATE TABLE compared_images (
            rules TEXT NOT NULL,
            image_id TEXT NOT NULL,
            PRIMARY KEY (rules, image_id)
        ) WITHOUT ROWID
        """,
    ),
    (
        # What a person was asked to label: what was asked for at random is a fair sample.
        """
        CREATE TABLE suggested (
            image_id TEXT NOT NULL REFERENCES images (image_id),
            why TEXT NOT NULL CHECK (why IN ('uncertain', 'spread', 'random')),
            at TEXT NOT NULL,
            PRIMARY KEY (image_id, why)
        ) WITHOUT ROWID
        """,
    ),
    (
        # Pairs that may be copies: features are very alike, pixels could not tell.
        """
        CREATE TABLE suspected_pairs (
            first TEXT NOT NULL REFERENCES images (image_id),
            second TEXT NOT NULL REFERENCES images (image_id),
            turn TEXT,
            scale REAL,
            overlap REAL,
            agreement REAL,
            similarity REAL,
            rules INTEGER NOT NULL,
            spreads REAL NOT NULL,
            PRIMARY KEY (first, second),
            CHECK (first < second)
        ) WITHOUT ROWID
        """,
    ),
)

FEATURE_MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        # Everything that decides a feature's value, apart from the image itself.
        """
        CREATE TABLE recipes (
            id INTEGER PRIMARY KEY,
            backbone_digest TEXT NOT NULL,
            precision TEXT NOT NULL,
            pixel_contract INTEGER NOT NULL,
            resize_mode TEXT NOT NULL,
            UNIQUE (backbone_digest, precision, pixel_contract, resize_mode)
        )
        """,
        """
        CREATE TABLE features (
            id INTEGER PRIMARY KEY,
            recipe INTEGER NOT NULL REFERENCES recipes (id),
            image_id TEXT NOT NULL,
            frame INTEGER NOT NULL,
            vector BLOB NOT NULL,
            UNIQUE (recipe, image_id, frame)
        )
        """,
        """
        CREATE TABLE refusals (
            pixel_contract INTEGER NOT NULL,
            image_id TEXT NOT NULL,
            reason TEXT NOT NULL,
            detail TEXT NOT NULL,
            PRIMARY KEY (pixel_contract, image_id)
        )
        """,
    ),  # A view is what is looked at of an image: a frame, composited or with its alpha dropped.
    ("ALTER TABLE features RENAME COLUMN frame TO view",),
    (
        # What a backbone saw, very small.
        """
        CREATE TABLE sketches (
            recipe INTEGER NOT NULL REFERENCES recipes (id),
            image_id TEXT NOT NULL,
            pixels BLOB NOT NULL,
            PRIMARY KEY (recipe, image_id)
        ) WITHOUT ROWID
        """,
    ),
    (
        # Numbers of rows mean something in this file only; what keeps them keeps its name too.
        "CREATE TABLE identity (id TEXT NOT NULL)",
        "INSERT INTO identity VALUES (lower(hex(randomblob(16))))",
    ),
    (
        # What an image turned out to be once it was decoded; both NULL where it cannot be.
        """
        CREATE TABLE looks (
            pixel_contract INTEGER NOT NULL,
            image_id TEXT NOT NULL,
            frames INTEGER,
            greyscale INTEGER,
            PRIMARY KEY (pixel_contract, image_id)
        ) WITHOUT ROWID
        """,
    ),
    (
        # Which view each picture made from a file equals; only where there are several views.
        """
        CREATE TABLE orders (
            recipe INTEGER NOT NULL REFERENCES recipes (id),
            image_id TEXT NOT NULL,
            numbers BLOB NOT NULL,
            PRIMARY KEY (recipe, image_id)
        ) WITHOUT ROWID
        """,
    ),
)
