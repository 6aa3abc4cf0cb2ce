#!/bin/bash
# The accounts of the programs, each with what its README asks for and nothing more. The image runs it once, in an empty
# volume, before it listens. Sourced or executed, as the file's mode will have it: so it neither sets shell options nor
# exits. Passwords are hexadecimal: nothing to be escaped.
medassist_accounts() {
    local secrets=/run/secrets
    cat <<SQL
CREATE USER api@'%' IDENTIFIED BY '$(<$secrets/mysql_api)';
GRANT SELECT, INSERT, UPDATE, CREATE ON medassist.* TO api@'%';

CREATE USER exporter@'%' IDENTIFIED BY '$(<$secrets/mysql_exporter)' WITH MAX_USER_CONNECTIONS 3;
GRANT PROCESS, REPLICATION CLIENT ON *.* TO exporter@'%';

CREATE USER backup@'%' IDENTIFIED BY '$(<$secrets/mysql_backup)';
GRANT SELECT, SHOW VIEW, TRIGGER, EVENT ON medassist.* TO backup@'%';
GRANT SELECT ON mysql.* TO backup@'%';
GRANT SHOW_ROUTINE, REPLICATION CLIENT ON *.* TO backup@'%';

-- For the healthcheck: from inside the container only, and without any right.
CREATE USER health@'127.0.0.1' IDENTIFIED BY '';
SQL
}
medassist_accounts | mysql --defaults-extra-file=<(printf '[client]\npassword="%s"\n' "$MYSQL_ROOT_PASSWORD") --protocol=socket --user=root
