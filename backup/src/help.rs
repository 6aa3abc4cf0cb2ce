//! What `--help` says after the flags of each command.

pub(crate) const AFTER_HELP: &str = "\
A duration is a number with units, such as 90s, 15m, 1h30m or 1d; a number without a unit is in seconds.

Every flag is also an environment variable: --backup.keep is MYSQL_BACKUP_BACKUP_KEEP.

Exit status:
  0  done: a complete backup, a restore whose counts are right, a verified file
  1  failed; the message and the log name the reason
  2  invalid command line
  3  a partial backup (run), or a restored copy that differs from its manifest (restore, verify)
  4  refused, and nothing is changed: the target has tables, is a replica, or lacks something (restore)

Without a command, flags mean `run`, or `schedule` with --schedule.every.

Examples:
  # Once, now
  mysql-backup run --mysql.user=backup --mysql.password-file=/etc/mysql-backup/password \\
    --backup.name=medassist --backup.databases=medassist --backup.directory=/var/backups/mysql

  # As a service: every 15 minutes, so that at most 15 minutes and one dump's duration are at risk
  mysql-backup schedule --schedule.every=15m ...

  # Which backups are there?
  mysql-backup list --backup.directory=/var/backups/mysql --backup.name=medassist

  # Restore the newest one
  mysql-backup restore --backup.directory=/var/backups/mysql --backup.name=medassist --target.address=127.0.0.1:3306";

pub(crate) const RUN_HELP: &str = "\
The dump is made by mariadb-dump or mysqldump, whichever fits the server, in one snapshot of all databases. It is compared with the server's list of objects, and the manifest says what it lacks. A failed run leaves a manifest with the reason, and no file that looks like a backup.

A database that cannot be dumped, or a view that is broken, makes the run partial: all else is in the backup.

Example:
  mysql-backup run --mysql.address=127.0.0.1:3306 --mysql.user=backup --mysql.password-file=/etc/mysql-backup/password \\
    --backup.name=medassist --backup.databases=medassist --backup.directory=/var/backups/mysql";

pub(crate) const SCHEDULE_HELP: &str = "\
The first run starts one interval after the newest complete backup. A failed run is repeated in its slot, after 15 s, 30 s, 1 min and so on. SIGTERM ends the current run as interrupted; a second one stops immediately. SIGHUP is only logged: each run reads the password file.

With --binlog.stream, the server's binary log is received as it is written, so that `restore --at` can end at any second. It needs REPLICATION SLAVE and REPLICATION CLIENT.

With --verify.every, the newest backup is restored into a throwaway server at that interval, as `verify --restore` does. A test costs no run, and a failed one is repeated after 15 min.

Example:
  mysql-backup schedule --schedule.every=15m --backup.keep=96 --backup.keep-daily=14 --backup.keep-monthly=12 ...";

pub(crate) const LIST_HELP: &str = "\
The state is complete, partial (it lacks databases or objects), failed, missing (the file is gone or has another size), unreadable or unfinished. PROVEN is the time of the newest successful `verify --restore` of that backup.";

pub(crate) const VERIFY_HELP: &str = "\
Without --restore, the file's checksum, its compression, its end and its contents are compared with the manifest. With --restore, the backup is loaded into an empty server and dumped again: objects, numbers of rows and checksums of small tables must be the manifest's. The proof next to the manifest has the measured recovery time.

The throwaway server needs as much disk space as the data, in TMPDIR. It listens on a Unix socket only.

Example:
  mysql-backup verify --restore --backup.directory=/var/backups/mysql --backup.name=medassist --canary=medassist.heartbeat.at";

pub(crate) const RESTORE_HELP: &str = "\
The file is verified first, completely. Then the target is checked: databases that are to be restored must not exist or be empty, unless --overwrite is given, which drops them. The load stops at the first error. At the end, objects and rows are counted and compared with the manifest, and the duration and the recovery point are printed.

For the time of the load, max_allowed_packet and log_bin_trust_function_creators are raised on the target if the backup needs it. A client is not needed.

With --at, the newest backup before that time is loaded, and the received binary log is replayed up to it (schedule --binlog.stream). --at=latest restores all that was received. What is missing is refused before anything is changed.

The load is written to the binary log (--binlog=write), so replicas of the target get it, too. --binlog=skip is for a server without replicas, and is refused if one is connected. A replica is refused as a target: restore to its primary.

Examples:
  # The newest backup, to a new server
  mysql-backup restore --backup.directory=/var/backups/mysql --backup.name=medassist --target.address=127.0.0.1:3306

  # As it was just before a mistake at 12:00:00, to a second server
  mysql-backup restore --at=2026-11-22T11:59:59Z ... --target.address=127.0.0.1:3307

  # One table of the last backup before noon, next to the live data; the binary log is not replayed
  mysql-backup restore ... --at=2026-11-22T12:00:00Z --database=medassist --table=payment --as=medassist_noon";

pub(crate) const FETCH_HELP: &str = "\
Downloads a backup from the store that --offsite.url names, verifies its checksum, and writes its manifest last. Afterwards `verify` and `restore` take it from the directory. A download that was interrupted continues.

Example, on a machine that has nothing else:
  mysql-backup fetch --offsite.url=s3://backups/medassist --backup.directory=/restore --backup.name=medassist
  mysql-backup restore --backup.directory=/restore --backup.name=medassist --decrypt.identity-file=key --target.address=127.0.0.1:3306";

pub(crate) const PRUNE_HELP: &str = "\
`run` and `schedule` do the same after each successful run. The newest backup that `verify --restore` has proven always stays.";
