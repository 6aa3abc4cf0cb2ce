//! What the suite knows about MySQL and MariaDB: connection options, TLS, error codes, flavours and versions.
