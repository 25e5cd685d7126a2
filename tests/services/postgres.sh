# PostgreSQL: the system's server programs on a data folder of our own.

PG_DATA=$STATE/postgres/data
PG_SUPERUSER=postgres
am_root || PG_SUPERUSER=$(id -un)

# The newest installed version; Debian keeps the server programs off the PATH.
pg_bin() { ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -V | tail -1; }

postgres_install() {
  if [ -z "$(pg_bin)" ]; then need_packages /usr/lib/postgresql/15/bin/postgres=postgresql-15; fi
  need_packages psql=postgresql-client-15
}

postgres_init() {
  local password
  rm -rf "$STATE/postgres"
  folder_for "$PG_SUPERUSER" "$STATE/postgres"
  password=$(mktemp)
  echo "$DB_PASSWORD" >"$password"
  if am_root; then chown "$PG_SUPERUSER" "$password"; fi
  as "$PG_SUPERUSER" "$(pg_bin)/initdb" -D "$PG_DATA" -U "$DB_USER" -E UTF8 --locale=C.UTF-8 --auth=scram-sha-256 \
    --pwfile="$password" --no-sync >"$STATE/postgres-init.log" 2>&1 || { tail -20 "$STATE/postgres-init.log" >&2; die "postgres: initdb failed"; }
  rm -f "$password"
  as "$PG_SUPERUSER" tee -a "$PG_DATA/postgresql.conf" >/dev/null <<C
listen_addresses = '127.0.0.1'
unix_socket_directories = '$STATE/postgres'
shared_buffers = 64MB
max_connections = 200
fsync = off
wal_level = logical
C
  as "$PG_SUPERUSER" touch "$STATE/postgres/.made"
}

postgres_start() {
  need_free_port postgres "$PG_PORT" MARU_TEST_PG_PORT
  as "$PG_SUPERUSER" test -f "$STATE/postgres/.made" || postgres_init
  as "$PG_SUPERUSER" "$(pg_bin)/pg_ctl" -D "$PG_DATA" -l "$STATE/postgres/log" -o "-p $PG_PORT" -w -t 60 start >/dev/null ||
    { as "$PG_SUPERUSER" tail -20 "$STATE/postgres/log" >&2; die "postgres: did not start"; }
  if [ -z "$(postgres_sql postgres "select 1 from pg_database where datname = '$DB_NAME'")" ]; then
    postgres_sql postgres "create database $DB_NAME" >/dev/null
  fi
}

postgres_sql() { PGPASSWORD=$DB_PASSWORD psql -XAtq -v ON_ERROR_STOP=1 -h 127.0.0.1 -p "$PG_PORT" -U "$DB_USER" -d "$1" -c "$2"; }
postgres_running() { [ "$(postgres_sql "$DB_NAME" 'show data_directory' 2>/dev/null)" = "$PG_DATA" ]; }
postgres_stop() {
  as "$PG_SUPERUSER" test -f "$PG_DATA/postmaster.pid" 2>/dev/null || return 0
  as "$PG_SUPERUSER" "$(pg_bin)/pg_ctl" -D "$PG_DATA" -m fast -w stop >/dev/null 2>&1 || true
}
postgres_wipe() { rm -rf "$STATE/postgres"; }
postgres_env() { echo "export MARU_TEST_PG=postgres://$DB_USER:$DB_PASSWORD@127.0.0.1:$PG_PORT/$DB_NAME"; }
