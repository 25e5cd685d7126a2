# MariaDB: the system's server program on a data folder of our own, reached over TCP as an application would.

MYSQL_DIR=$STATE/mariadb
MYSQL_OWNER=nobody
am_root || MYSQL_OWNER=$(id -un)

mariadb_install() { need_packages mariadbd=mariadb-server-core mariadb=mariadb-client-core; }

mariadb_init() {
  rm -rf "$MYSQL_DIR"
  folder_for "$MYSQL_OWNER" "$MYSQL_DIR"
  as "$MYSQL_OWNER" mariadb-install-db --no-defaults --datadir="$MYSQL_DIR/data" --auth-root-authentication-method=normal \
    --skip-test-db >"$STATE/mariadb-init.log" 2>&1 || { tail -20 "$STATE/mariadb-init.log" >&2; die "mariadb: mariadb-install-db failed"; }
  # Read by the server before it listens: no moment without a password.
  as "$MYSQL_OWNER" tee "$MYSQL_DIR/init.sql" >/dev/null <<S
create database if not exists $DB_NAME character set utf8mb4 collate utf8mb4_general_ci;
create user if not exists $DB_USER@'127.0.0.1' identified by '$DB_PASSWORD';
grant all on *.* to $DB_USER@'127.0.0.1' with grant option;
S
}

mariadb_start() {
  need_free_port mariadb "$MYSQL_PORT" MARU_TEST_MYSQL_PORT
  as "$MYSQL_OWNER" test -f "$MYSQL_DIR/init.sql" || mariadb_init
  # The pid of `daemon` is that of runuser, which hands signals on and stays until the server is gone.
  local step_down=()
  if am_root; then step_down=(runuser -u "$MYSQL_OWNER" --); fi
  daemon mariadb "${step_down[@]}" mariadbd --no-defaults --datadir="$MYSQL_DIR/data" --bind-address=127.0.0.1 \
    --port="$MYSQL_PORT" --socket="$MYSQL_DIR/sock" --init-file="$MYSQL_DIR/init.sql" --innodb-buffer-pool-size=64M \
    --innodb-flush-log-at-trx-commit=0 --performance-schema=OFF --max-connections=200
  wait_until mariadb 60 mariadb_ready
}

mariadb_sql() { MYSQL_PWD=$DB_PASSWORD mariadb --no-defaults -N -B -h 127.0.0.1 -P "$MYSQL_PORT" -u "$DB_USER" -e "$1" "$DB_NAME"; }
mariadb_ready() { mariadb_sql 'select 1' >/dev/null 2>&1; }
mariadb_running() { alive mariadb "$MYSQL_DIR" && mariadb_ready; }
mariadb_stop() { end mariadb "$MYSQL_DIR"; }
mariadb_wipe() { rm -rf "$MYSQL_DIR"; }
mariadb_env() { echo "export MARU_TEST_MYSQL=mysql://$DB_USER:$DB_PASSWORD@127.0.0.1:$MYSQL_PORT/$DB_NAME"; }
