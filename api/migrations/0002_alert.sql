-- One row an alert: Alertmanager delivers at least once, and (fingerprint, starts_at) is what stays the same.
CREATE TABLE IF NOT EXISTS alert (
    fingerprint          VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    starts_at            DATETIME(6) NOT NULL COMMENT 'UTC, like all times here',
    status               ENUM('firing', 'resolved') NOT NULL,
    ends_at              DATETIME(6) NULL,
    labels               JSON NOT NULL,
    annotations          JSON NOT NULL,
    receiver             MEDIUMTEXT NOT NULL,
    generator_url        MEDIUMTEXT NOT NULL,
    received_at          DATETIME(6) NOT NULL COMMENT 'first notification of any kind',
    firing_received_at   DATETIME(6) NULL COMMENT 'first firing notification: time to detect ends here',
    resolved_received_at DATETIME(6) NULL COMMENT 'first resolved notification',
    last_received_at     DATETIME(6) NOT NULL COMMENT 'latest notification, repeats included',
    notifications        INT UNSIGNED NOT NULL DEFAULT 1,
    PRIMARY KEY (fingerprint, starts_at),
    KEY received_at (received_at),
    KEY status_received_at (status, received_at)
) ENGINE = InnoDB DEFAULT CHARACTER SET = utf8mb4
