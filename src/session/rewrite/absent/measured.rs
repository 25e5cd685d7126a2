//! PostgreSQL's views of what it counts and keeps beside tables: scans, blocks, progress, replication, indexes, statistics of columns.
//! Tools show them on their first page (pgAdmin, DBeaver, monitors). Here nothing of it is counted or kept, and so they have no rows.
//!
//! Source: PostgreSQL 16, chapters 28.2 and 54.

/// Names of views with the same columns, and these.
pub(super) const VIEWS: &[(&[&str], &str)] = &[
    (&["pg_config"], "name text, setting text"),
    (
        &["pg_file_settings"],
        "sourcefile text, sourceline int, seqno int, name text, setting text, applied bool, error text",
    ),
    (
        &["pg_hba_file_rules"],
        "line_number int, type text, database text[], user_name text[], address text, netmask text, auth_method text, options text[], error text",
    ),
    (
        &["pg_indexes"],
        "schemaname text, tablename text, indexname text, tablespace text, indexdef text",
    ),
    (&["pg_parameter_acl"], "oid oid, parname text, paracl text[]"),
    (
        &["pg_prepared_xacts"],
        "transaction text, gid text, prepared timestamptz, owner text, database text",
    ),
    (
        &["pg_publication_tables"],
        "pubname text, schemaname text, tablename text, attnames text[], rowfilter text",
    ),
    (
        &["pg_replication_origin_status"],
        "local_id oid, external_id text, remote_lsn text, local_lsn text",
    ),
    (&["pg_rules"], "schemaname text, tablename text, rulename text, definition text"),
    (
        &["pg_seclabels"],
        "objoid oid, classoid oid, objsubid int, objtype text, objnamespace oid, objname text, provider text, label text",
    ),
    (
        &["pg_stat_all_indexes", "pg_stat_sys_indexes", "pg_stat_user_indexes"],
        "relid oid, indexrelid oid, schemaname text, relname text, indexrelname text, idx_scan bigint, last_idx_scan timestamptz, idx_tup_read bigint, idx_tup_fetch bigint",
    ),
    (
        &["pg_stat_all_tables", "pg_stat_sys_tables"],
        "relid oid, schemaname text, relname text, seq_scan bigint, last_seq_scan timestamptz, seq_tup_read bigint, idx_scan bigint, last_idx_scan timestamptz, idx_tup_fetch bigint, n_tup_ins bigint, n_tup_upd bigint, n_tup_del bigint, n_tup_hot_upd bigint, n_tup_newpage_upd bigint, n_live_tup bigint, n_dead_tup bigint, n_mod_since_analyze bigint, n_ins_since_vacuum bigint, last_vacuum timestamptz, last_autovacuum timestamptz, last_analyze timestamptz, last_autoanalyze timestamptz, vacuum_count bigint, autovacuum_count bigint, analyze_count bigint, autoanalyze_count bigint",
    ),
    (
        &["pg_stat_archiver"],
        "archived_count bigint, last_archived_wal text, last_archived_time timestamptz, failed_count bigint, last_failed_wal text, last_failed_time timestamptz, stats_reset timestamptz",
    ),
    (
        &["pg_stat_bgwriter"],
        "checkpoints_timed bigint, checkpoints_req bigint, checkpoint_write_time double precision, checkpoint_sync_time double precision, buffers_checkpoint bigint, buffers_clean bigint, maxwritten_clean bigint, buffers_backend bigint, buffers_backend_fsync bigint, buffers_alloc bigint, stats_reset timestamptz",
    ),
    (
        &["pg_stat_database_conflicts"],
        "datid oid, datname text, confl_tablespace bigint, confl_lock bigint, confl_snapshot bigint, confl_bufferpin bigint, confl_deadlock bigint, confl_active_logicalslot bigint",
    ),
    (
        &["pg_stat_io"],
        "backend_type text, object text, context text, reads bigint, read_time double precision, writes bigint, write_time double precision, writebacks bigint, writeback_time double precision, extends bigint, extend_time double precision, op_bytes bigint, hits bigint, evictions bigint, reuses bigint, fsyncs bigint, fsync_time double precision, stats_reset timestamptz",
    ),
    (
        &["pg_stat_progress_analyze"],
        "pid int, datid oid, datname text, relid oid, phase text, sample_blks_total bigint, sample_blks_scanned bigint, ext_stats_total bigint, ext_stats_computed bigint, child_tables_total bigint, child_tables_done bigint, current_child_table_relid oid",
    ),
    (
        &["pg_stat_progress_basebackup"],
        "pid int, phase text, backup_total bigint, backup_streamed bigint, tablespaces_total bigint, tablespaces_streamed bigint",
    ),
    (
        &["pg_stat_progress_cluster"],
        "pid int, datid oid, datname text, relid oid, command text, phase text, cluster_index_relid oid, heap_tuples_scanned bigint, heap_tuples_written bigint, heap_blks_total bigint, heap_blks_scanned bigint, index_rebuild_count bigint",
    ),
    (
        &["pg_stat_progress_copy"],
        "pid int, datid oid, datname text, relid oid, command text, type text, bytes_processed bigint, bytes_total bigint, tuples_processed bigint, tuples_excluded bigint",
    ),
    (
        &["pg_stat_progress_create_index"],
        "pid int, datid oid, datname text, relid oid, index_relid oid, command text, phase text, lockers_total bigint, lockers_done bigint, current_locker_pid bigint, blocks_total bigint, blocks_done bigint, tuples_total bigint, tuples_done bigint, partitions_total bigint, partitions_done bigint",
    ),
    (
        &["pg_stat_progress_vacuum"],
        "pid int, datid oid, datname text, relid oid, phase text, heap_blks_total bigint, heap_blks_scanned bigint, heap_blks_vacuumed bigint, index_vacuum_count bigint, max_dead_tuples bigint, num_dead_tuples bigint",
    ),
    (
        &["pg_stat_replication"],
        "pid int, usesysid oid, usename text, application_name text, client_addr text, client_hostname text, client_port int, backend_start timestamptz, backend_xmin text, state text, sent_lsn text, write_lsn text, flush_lsn text, replay_lsn text, write_lag interval, flush_lag interval, replay_lag interval, sync_priority int, sync_state text, reply_time timestamptz",
    ),
    (
        &["pg_stat_replication_slots"],
        "slot_name text, spill_txns bigint, spill_count bigint, spill_bytes bigint, stream_txns bigint, stream_count bigint, stream_bytes bigint, total_txns bigint, total_bytes bigint, stats_reset timestamptz",
    ),
    (
        &["pg_stat_slru"],
        "name text, blks_zeroed bigint, blks_hit bigint, blks_read bigint, blks_written bigint, blks_exists bigint, flushes bigint, truncates bigint, stats_reset timestamptz",
    ),
    (
        &["pg_stat_ssl"],
        "pid int, ssl bool, version text, cipher text, bits int, client_dn text, client_serial numeric, issuer_dn text",
    ),
    (
        &["pg_stat_subscription"],
        "subid oid, subname text, pid int, relid oid, received_lsn text, last_msg_send_time timestamptz, last_msg_receipt_time timestamptz, latest_end_lsn text, latest_end_time timestamptz",
    ),
    (
        &["pg_stat_user_functions"],
        "funcid oid, schemaname text, funcname text, calls bigint, total_time double precision, self_time double precision",
    ),
    (
        &["pg_stat_wal"],
        "wal_records bigint, wal_fpi bigint, wal_bytes numeric, wal_buffers_full bigint, wal_write bigint, wal_sync bigint, wal_write_time double precision, wal_sync_time double precision, stats_reset timestamptz",
    ),
    (
        &["pg_stat_wal_receiver"],
        "pid int, status text, receive_start_lsn text, receive_start_tli int, written_lsn text, flushed_lsn text, received_tli int, last_msg_send_time timestamptz, last_msg_receipt_time timestamptz, latest_end_lsn text, latest_end_time timestamptz, slot_name text, sender_host text, sender_port int, conninfo text",
    ),
    (
        &["pg_stat_xact_all_tables", "pg_stat_xact_sys_tables", "pg_stat_xact_user_tables"],
        "relid oid, schemaname text, relname text, seq_scan bigint, seq_tup_read bigint, idx_scan bigint, idx_tup_fetch bigint, n_tup_ins bigint, n_tup_upd bigint, n_tup_del bigint, n_tup_hot_upd bigint, n_tup_newpage_upd bigint",
    ),
    (
        &["pg_statio_all_indexes", "pg_statio_sys_indexes", "pg_statio_user_indexes"],
        "relid oid, indexrelid oid, schemaname text, relname text, indexrelname text, idx_blks_read bigint, idx_blks_hit bigint",
    ),
    (
        &["pg_statio_all_sequences", "pg_statio_sys_sequences", "pg_statio_user_sequences"],
        "relid oid, schemaname text, relname text, blks_read bigint, blks_hit bigint",
    ),
    (
        &["pg_statio_all_tables", "pg_statio_sys_tables", "pg_statio_user_tables"],
        "relid oid, schemaname text, relname text, heap_blks_read bigint, heap_blks_hit bigint, idx_blks_read bigint, idx_blks_hit bigint, toast_blks_read bigint, toast_blks_hit bigint, tidx_blks_read bigint, tidx_blks_hit bigint",
    ),
    (
        &["pg_stats"],
        "schemaname text, tablename text, attname text, inherited bool, null_frac real, avg_width int, n_distinct real, most_common_vals text, most_common_freqs real[], histogram_bounds text, correlation real, most_common_elems text, most_common_elem_freqs real[], elem_count_histogram real[]",
    ),
    (
        &["pg_stats_ext"],
        "schemaname text, tablename text, statistics_schemaname text, statistics_name text, statistics_owner text, attnames text[], exprs text[], kinds text[], inherited bool, n_distinct text, dependencies text, most_common_vals text[], most_common_val_nulls bool[], most_common_freqs double precision[], most_common_base_freqs double precision[]",
    ),
    (&["pg_transform"], "oid oid, trftype oid, trflang oid, trffromsql oid, trftosql oid"),
];

/// `pg_stat_database`, of which sessions are counted.
pub(super) const DATABASES: &str = "(SELECT d.oid AS datid, d.datname AS datname, d.numbackends AS numbackends, CAST(NULL AS bigint) AS xact_commit, CAST(NULL AS bigint) AS xact_rollback, CAST(NULL AS bigint) AS blks_read, CAST(NULL AS bigint) AS blks_hit, CAST(NULL AS bigint) AS tup_returned, CAST(NULL AS bigint) AS tup_fetched, CAST(NULL AS bigint) AS tup_inserted, CAST(NULL AS bigint) AS tup_updated, CAST(NULL AS bigint) AS tup_deleted, CAST(NULL AS bigint) AS conflicts, CAST(NULL AS bigint) AS temp_files, CAST(NULL AS bigint) AS temp_bytes, CAST(NULL AS bigint) AS deadlocks, CAST(NULL AS bigint) AS checksum_failures, CAST(NULL AS timestamptz) AS checksum_last_failure, CAST(NULL AS double precision) AS blk_read_time, CAST(NULL AS double precision) AS blk_write_time, CAST(NULL AS double precision) AS session_time, CAST(NULL AS double precision) AS active_time, CAST(NULL AS double precision) AS idle_in_transaction_time, CAST(NULL AS bigint) AS sessions, CAST(NULL AS bigint) AS sessions_abandoned, CAST(NULL AS bigint) AS sessions_fatal, CAST(NULL AS bigint) AS sessions_killed, CAST(NULL AS timestamptz) AS stats_reset \
    FROM (SELECT d.oid, d.datname, CAST(count(a.pid) AS INT) AS numbackends FROM pg_catalog.pg_database d \
    LEFT JOIN pg_catalog.pg_stat_activity a ON a.datname = d.datname GROUP BY d.oid, d.datname) d) AS pg_stat_database";
