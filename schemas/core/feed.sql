-- The change feed of calendar_job: what Debezium may read, and with which role. Apply this file after
-- calendar_job.sql, with psql, as a role that may create roles and publications. You can apply it again at any time:
--
--     psql --set=feed_password=… --file=feed.sql
--
-- The server needs wal_level = logical. Set max_slot_wal_keep_size, so that the log kept for a feed that stands still
-- has a limit. If the slot is lost by that, the connector takes a new snapshot by itself (snapshot.mode when_needed).
\set ON_ERROR_STOP on
set client_min_messages = warning;
begin;

-- Rows of this table are commands to Debezium. To send every job again, while changes continue:
--     insert into calendar_feed_signal values (gen_random_uuid(), 'execute-snapshot',
--         '{"type": "incremental", "data-collections": ["public.calendar_job"]}');
create table if not exists calendar_feed_signal (
    id   text primary key,
    type text not null,
    data text
);

-- The role may replicate, read calendar_job, and write signals. It has no rights on Core's own tables.
-- (REPLICATION also allows a base backup, so do not give this role a "replication" line in pg_hba.conf.)
select 'create role calendar_feed' where not exists (select from pg_roles where rolname = 'calendar_feed') \gexec
alter role calendar_feed with login replication nosuperuser nocreatedb nocreaterole password :'feed_password';
grant usage on schema public to calendar_feed;
grant select on calendar_job to calendar_feed;
grant select, insert, delete on calendar_feed_signal to calendar_feed;

-- Never drop this publication and create it again: a slot reads older log with the publications of that time.
select 'create publication calendar_feed for table calendar_job, calendar_feed_signal'
       ' with (publish = ''insert, update, delete'')'
where not exists (select from pg_publication where pubname = 'calendar_feed') \gexec

commit;
