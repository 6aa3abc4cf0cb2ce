//! What the services need before they start: directories, secrets, configuration; and in the database, users.
//! All of it may be done again over what is there.

use std::fs::{self, File, Permissions};
use std::io::{Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use crate::database::{self, Flavour};
use crate::error::Error;
use crate::launch::{self, Launch};
use crate::layout::Layout;

/// One file each, made once: a running service keeps its password.
const SECRETS: [&str; 6] =
    ["mysql_api", "mysql_exporter", "mysql_backup", "redis_api", "redis_exporter", "webhook_token"];

/// Everything that must be there before the first service starts.
pub fn prepare(layout: &Layout) -> Result<(), Error> {
    for name in ["data", "run", "log", "secrets", "config"] {
        let directory = layout.directory().join(name);
        fs::create_dir_all(&directory).map_err(Error::file("cannot create", &directory))?;
        // The database's root has no password: what keeps others out is that they can't reach its socket.
        fs::set_permissions(&directory, Permissions::from_mode(0o700))
            .map_err(Error::file("cannot protect", &directory))?;
    }
    for name in ["redis", "backups", "offsite", "prometheus", "alertmanager"] {
        let directory = layout.data(name);
        fs::create_dir_all(&directory).map_err(Error::file("cannot create", &directory))?;
    }
    if !layout.data("mysql").is_dir() {
        let partial = layout.data("mysql.partial");
        remove(&partial)?;
        Flavour::MariaDb.install(&layout.data("mysql.template"), &partial)?;
        fs::rename(&partial, layout.data("mysql")).map_err(Error::file("cannot rename", &partial))?;
        remove(&layout.data("mysql.template"))?;
    }
    for name in SECRETS {
        if !layout.secret(name).is_file() {
            write_private(&layout.secret(name), &random()?)?;
        }
    }
    write_private(&layout.config("redis.conf"), &redis_users(layout)?)?;
    stage_configuration(layout)
}

fn remove(directory: &Path) -> Result<(), Error> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::file("cannot remove", directory)(error))
        }
        _ => Ok(()),
    }
}

/// Prometheus' and Alertmanager's files name the documented ports; a stack with an offset moves them. Everything else
/// is as it is in the repository.
fn stage_configuration(layout: &Layout) -> Result<(), Error> {
    for (from, to) in [
        ("prometheus/prometheus.yml", "prometheus"),
        ("prometheus/rules", "prometheus/rules"),
        ("prometheus/targets/local", "prometheus/targets"),
        ("alertmanager/targets/local", "alertmanager/targets"),
        ("alertmanager/templates", "alertmanager/templates"),
    ] {
        let (from, to) = (layout.repository().join(from), layout.config(to));
        fs::create_dir_all(&to).map_err(Error::file("cannot create", &to))?;
        let files = if from.is_dir() {
            let entries = fs::read_dir(&from).map_err(Error::file("cannot read", &from))?;
            entries.flatten().map(|entry| entry.path()).filter(|path| path.is_file()).collect()
        } else {
            vec![from]
        };
        for file in files {
            let text = fs::read_to_string(&file).map_err(Error::file("cannot read", &file))?;
            let target = to.join(file.file_name().unwrap_or_default());
            fs::write(&target, moved(&text, layout.offset())).map_err(Error::file("cannot write", &target))?;
        }
    }
    let token = fs::read_to_string(layout.secret("webhook_token"));
    let token = token.map_err(Error::file("cannot read", layout.secret("webhook_token")))?;
    write_private(&layout.config("alertmanager/webhook_token"), &token)?;
    write_private(&layout.config("alertmanager/alertmanager.yml"), &alertmanager(layout)?)
}

/// The repository's targets, and over them the operator's: mail, pager, dead man's switch.
fn alertmanager(layout: &Layout) -> Result<String, Error> {
    let own = layout.alertmanager_targets();
    fs::create_dir_all(&own).map_err(Error::file("cannot create", &own))?;
    let render = Launch::new(layout.repository().join("alertmanager/render"))
        .arg(layout.config("alertmanager/targets"))
        .arg(own);
    launch::run(&mut render.wrapped(&[]), "alertmanager/render", "")
}

/// Adds the offset to the port of each `127.0.0.1:PORT`.
fn moved(text: &str, offset: u16) -> String {
    const HOST: &str = "127.0.0.1:";
    let mut parts = text.split(HOST);
    let mut result = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let digits = part.find(|char: char| !char.is_ascii_digit()).unwrap_or(part.len());
        let (port, rest) = part.split_at(digits);
        result.push_str(HOST);
        match port.parse::<u16>() {
            Ok(port) => result.push_str(&(port + offset).to_string()),
            Err(_) => result.push_str(port),
        }
        result.push_str(rest);
    }
    result
}

/// Each with the grants in its README, from loopback only. The passwords are passed on standard input.
pub fn database_users(layout: &Layout) -> Result<(), Error> {
    let mut statements = String::from(
        "CREATE DATABASE IF NOT EXISTS medassist CHARACTER SET utf8mb4;\n\
         DROP USER IF EXISTS root@'127.0.0.1', root@'::1';\n",
    );
    for (user, limit, grants) in [
        ("api", "", &["SELECT, INSERT, UPDATE, CREATE ON medassist.*"][..]),
        ("exporter", "WITH MAX_USER_CONNECTIONS 3", &["PROCESS, SLAVE MONITOR ON *.*"]),
        (
            "backup",
            "",
            &[
                "SELECT, SHOW VIEW, TRIGGER, EVENT ON medassist.*",
                "SELECT ON mysql.*",
                "REPLICATION SLAVE, REPLICATION CLIENT ON *.*",
            ],
        ),
    ] {
        let password = secret(layout, &format!("mysql_{user}"))?;
        let account = format!("{user}@'127.0.0.1'");
        statements += &format!("CREATE USER IF NOT EXISTS {account};\n");
        statements += &format!("ALTER USER {account} IDENTIFIED BY '{password}' {limit};\n");
        for grant in grants {
            statements += &format!("GRANT {grant} TO {account};\n");
        }
    }
    database::sql(&layout.run("mysql.sock"), &statements).map(drop)
}

fn redis_users(layout: &Layout) -> Result<String, Error> {
    let (api, exporter) = (secret(layout, "redis_api")?, secret(layout, "redis_exporter")?);
    Ok(format!(
        "# Generated: the API is the default user, for it logs in with a password alone.\n\
         maxmemory 64mb\n\
         maxmemory-policy allkeys-lru\n\
         user default on >{api} ~* &* +@all -@admin -@dangerous +info\n\
         user exporter on >{exporter} -@all +ping +info +config|get +slowlog|len +slowlog|get +latency|latest +cluster|info +client|setname\n"
    ))
}

fn secret(layout: &Layout, name: &str) -> Result<String, Error> {
    let path = layout.secret(name);
    let text = fs::read_to_string(&path).map_err(Error::file("cannot read", &path))?;
    Ok(text.trim().to_owned())
}

/// 32 hexadecimal digits: nothing to be escaped anywhere.
fn random() -> Result<String, Error> {
    let mut bytes = [0; 16];
    let source = Path::new("/dev/urandom");
    File::open(source).and_then(|mut file| file.read_exact(&mut bytes)).map_err(Error::file("cannot read", source))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

fn write_private(path: &Path, text: &str) -> Result<(), Error> {
    let write = || {
        let mut file = File::options().write(true).create(true).truncate(true).mode(0o600).open(path)?;
        file.write_all(text.as_bytes())
    };
    write().map_err(Error::file("cannot write", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_offset_moves_loopback_ports_and_nothing_else() {
        let text = "- targets: [\"127.0.0.1:19104\"]\nurl: http://127.0.0.1:18080/api\nfor: 19104\nhost: 127.0.0.1:x";
        let expected =
            "- targets: [\"127.0.0.1:19204\"]\nurl: http://127.0.0.1:18180/api\nfor: 19104\nhost: 127.0.0.1:x";
        assert_eq!(moved(text, 100), expected);
        assert_eq!(moved(text, 0), text);
    }
}
