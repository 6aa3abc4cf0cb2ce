-- One row is the payment, its idempotency key and the answer the client got: one INSERT is the whole transaction,
-- so there is no moment at which a key exists without its payment or a payment without its key.
CREATE TABLE IF NOT EXISTS payment (
    id              CHAR(36)     CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    idempotency_key VARCHAR(255) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    fingerprint     CHAR(64)     CHARACTER SET ascii COLLATE ascii_bin NOT NULL COMMENT 'SHA-256 of the request',
    consultation_id VARCHAR(64)  CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    amount_cents    BIGINT       NOT NULL,
    currency        CHAR(3)      CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    created_at      DATETIME(6)  NOT NULL COMMENT 'UTC',
    response_body   VARCHAR(1024) CHARACTER SET ascii COLLATE ascii_bin NOT NULL COMMENT 'replayed as is',
    PRIMARY KEY (id),
    UNIQUE KEY idempotency_key (idempotency_key)
) ENGINE = InnoDB
