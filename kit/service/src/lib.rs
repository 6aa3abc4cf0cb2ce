//! What every long-running program of the suite needs: flag values, secrets, logs, signals, name lookup.
