-- The change feed of calendar_job: what Debezium may see, and as whom. Applied after calendar_job.sql, with psql,
-- by a role that may create roles and publications, as often as one likes:
--
--     psql --set=feed_password=… --file=feed.sql
--
-- The server needs wal_level = logical, and max_slot_wal_keep_size should bound what a feed that stands still may
-- hold back: a slot that is lost is snapshotted anew by itself (snapshot.mode when_needed).
\set ON_ERROR_STOP on
set client_min_messages = warning;
begin;

-- Rows of this table are commands to Debezium. To have every job told once more, while changes go on:
--     insert into calendar_feed_signal values (gen_random_uuid(), 'execute-snapshot',
--         '{"type": "incremental", "data-collections": ["public.calendar_job"]}');
create table if not exists calendar_feed_signal (
    id   text primary key,
    type text not null,
    data text
);

-- The right to replicate, to read calendar_job, and to signal. Nothing of Core's own tables.
-- (REPLICATION would allow a base backup too: give this role no "replication" line in pg_hba.conf.)
select 'create role calendar_feed' where not exists (select from pg_roles where rolname = 'calendar_feed') \gexec
alter role calendar_feed with login replication nosuperuser nocreatedb nocreaterole password :'feed_password';
grant usage on schema public to calendar_feed;
grant select on calendar_job to calendar_feed;
grant select, insert, delete on calendar_feed_signal to calendar_feed;

-- Never dropped and created again: a slot reads older log with the publications of that time.
select 'create publication calendar_feed for table calendar_job, calendar_feed_signal'
       ' with (publish = ''insert, update, delete'')'
where not exists (select from pg_publication where pubname = 'calendar_feed') \gexec

commit;
