-- The table calendar_job: one row for each job, with everything that a calendar shows of it. Triggers on Core's tables
-- keep it up to date. Debezium captures this table, and no other table of Core.
-- Apply this file with psql as the owner of Core's tables. You can apply it again at any time: the table stays,
-- functions and triggers are replaced, and the rows are brought up to date at the end.
-- Needs PostgreSQL 15 or newer. docs/for-cores-team.md says how to adapt it to tables with other names.
\set ON_ERROR_STOP on
set client_min_messages = warning;
begin;

-- The revision of every row comes from this one sequence, and is drawn while the transaction has the turn (see
-- calendar_turn below). So of two states, of the same job or not, the one with the higher revision was committed
-- later. Never set the sequence back.
create sequence if not exists calendar_revision;

-- schemas/job-changed-value.avsc lists the types as Debezium's converter registers them. A column that is not null, or
-- that has a default, is registered with another type. So a new column must be nullable, without default, and the last.
create table if not exists calendar_job (
    job_id             text primary key,
    site_id            text   not null,
    revision           bigint not null,
    status             text   not null,
    subject            text,
    client_name        text,
    site_name          text,
    customer_reference text,
    contact_name       text,
    contact_mobile     text,
    contact_phone      text,
    contact_email      text,
    address            text,
    notes              text,
    starts_at          timestamptz,
    ends_at            timestamptz,
    workers            jsonb
);
alter table calendar_job replica identity default;

-- A transaction that changes the schedule takes the turn: it locks this one row when its commit begins, and keeps it
-- until the commit ends. So two transactions that touch one job through different tables (a client is renamed, a worker
-- is assigned) cannot miss each other's changes.
-- This is a row, not an advisory lock: with a row, a transaction with an old snapshot (repeatable read) fails with an
-- error that asks for a retry. With an advisory lock, it would write an old state.
create table if not exists calendar_turn (
    only_row boolean primary key default true check (only_row),
    taken_by xid8
);
insert into calendar_turn default values on conflict do nothing;

-- The rows that calendar_job must contain, from Core's tables.
create or replace view calendar_job_wanted as
select
    jobs.job_id,
    jobs.site_id,
    jobs.status,
    jobs.subject,
    clients.name    as client_name,
    places.name     as site_name,
    jobs.customer_reference,
    contacts.name   as contact_name,
    contacts.mobile as contact_mobile,
    contacts.phone  as contact_phone,
    contacts.email  as contact_email,
    places.address,
    jobs.notes,
    jobs.starts_at,
    jobs.ends_at,
    coalesce(
        (
            select jsonb_agg(
                jsonb_build_object('worker_id', workers.worker_id, 'calendar_email', workers.calendar_email)
                order by workers.worker_id
            )
            from assignments join workers using (worker_id)
            where assignments.job_id = jobs.job_id
        ),
        '[]'
    ) as workers
from jobs
left join clients using (client_id)
left join places using (place_id)
left join contacts using (contact_id);

create or replace procedure calendar_take_turn() language plpgsql as $$
begin
    update calendar_turn set taken_by = pg_current_xact_id() where taken_by is distinct from pg_current_xact_id();
end
$$;

-- Brings the rows of these jobs up to date. A row that is correct already is not written, so it gets no new revision
-- and no record on the topic.
create or replace procedure calendar_follow(touched text[]) language plpgsql as $$
begin
    delete from calendar_job
    where job_id = any (touched) and not exists (select from jobs where jobs.job_id = calendar_job.job_id);

    insert into calendar_job (
        job_id, site_id, revision, status, subject, client_name, site_name, customer_reference,
        contact_name, contact_mobile, contact_phone, contact_email, address, notes, starts_at, ends_at, workers
    )
    select
        job_id, wanted.site_id, nextval('calendar_revision'), wanted.status, wanted.subject, wanted.client_name,
        wanted.site_name, wanted.customer_reference, wanted.contact_name, wanted.contact_mobile,
        wanted.contact_phone, wanted.contact_email, wanted.address, wanted.notes, wanted.starts_at, wanted.ends_at,
        wanted.workers
    from calendar_job_wanted wanted
    left join calendar_job kept using (job_id)
    where job_id = any (touched)
        and (kept.job_id is null or to_jsonb(kept) - 'revision' <> to_jsonb(wanted))
    on conflict (job_id) do update set
        (
            site_id, revision, status, subject, client_name, site_name, customer_reference,
            contact_name, contact_mobile, contact_phone, contact_email, address, notes, starts_at, ends_at, workers
        ) = row (
            excluded.site_id, excluded.revision, excluded.status, excluded.subject, excluded.client_name,
            excluded.site_name, excluded.customer_reference, excluded.contact_name, excluded.contact_mobile,
            excluded.contact_phone, excluded.contact_email, excluded.address, excluded.notes, excluded.starts_at,
            excluded.ends_at, excluded.workers
        );
end
$$;

-- The triggers' function. It finds the jobs that a changed row touches, and updates their rows. It runs with the rights
-- of its owner, so that Core's application needs no rights on calendar_job.
create or replace function calendar_touched() returns trigger language plpgsql
security definer set search_path = public, pg_temp as $$
declare
    touched text[];
begin
    call calendar_take_turn(); -- must come first, so that every statement below sees everything committed before
    case tg_table_name
        when 'jobs', 'assignments' then
            touched := array[old.job_id, new.job_id];
        when 'clients' then
            touched := array(select job_id from jobs where client_id in (old.client_id, new.client_id));
        when 'places' then
            touched := array(select job_id from jobs where place_id in (old.place_id, new.place_id));
        when 'contacts' then
            touched := array(select job_id from jobs where contact_id in (old.contact_id, new.contact_id));
        when 'workers' then
            touched := array(select job_id from assignments where worker_id in (old.worker_id, new.worker_id));
    end case;
    call calendar_follow(touched);
    return null;
end
$$;

-- Makes every row correct. Only rows that were wrong get a new revision. Use it for a database that has jobs already,
-- and after the triggers were switched off (for example by pg_restore --disable-triggers).
create or replace procedure calendar_rebuild() language plpgsql
security definer set search_path = public, pg_temp as $$
declare
    every text[];
begin
    call calendar_take_turn();
    every := array(select job_id from jobs union select job_id from calendar_job);
    call calendar_follow(every);
end
$$;

create or replace function calendar_truncated() returns trigger language plpgsql
security definer set search_path = public, pg_temp as $$
begin
    call calendar_rebuild();
    return null;
end
$$;

create or replace function calendar_truncate_refused() returns trigger language plpgsql as $$
begin
    raise exception 'calendar_job cannot be truncated: the change feed would not report the removed rows'
        using hint = 'Delete the jobs instead. To make every row correct, call calendar_rebuild().';
end
$$;

-- The triggers are deferred: they run when the transaction commits, so only its outcome is written, in whatever order
-- its statements came. If a worker is taken off a job and put back in one transaction, nothing changes.
drop trigger if exists calendar_follows on jobs;
create constraint trigger calendar_follows after insert or delete on jobs
    deferrable initially deferred for each row execute function calendar_touched();
drop trigger if exists calendar_follows_update on jobs;
create constraint trigger calendar_follows_update after update on jobs
    deferrable initially deferred for each row
    when (
        (
            old.job_id, old.site_id, old.client_id, old.place_id, old.contact_id, old.status,
            old.subject, old.customer_reference, old.notes, old.starts_at, old.ends_at
        ) is distinct from (
            new.job_id, new.site_id, new.client_id, new.place_id, new.contact_id, new.status,
            new.subject, new.customer_reference, new.notes, new.starts_at, new.ends_at
        )
    )
    execute function calendar_touched();

drop trigger if exists calendar_follows on assignments;
create constraint trigger calendar_follows after insert or update or delete on assignments
    deferrable initially deferred for each row execute function calendar_touched();

-- These four need only updates. If a row is deleted, the foreign key changes the jobs that refer to it, which fires the
-- triggers above. No job refers to a new row yet.
drop trigger if exists calendar_follows on clients;
create constraint trigger calendar_follows after update on clients
    deferrable initially deferred for each row
    when ((old.client_id, old.name) is distinct from (new.client_id, new.name))
    execute function calendar_touched();

drop trigger if exists calendar_follows on places;
create constraint trigger calendar_follows after update on places
    deferrable initially deferred for each row
    when ((old.place_id, old.name, old.address) is distinct from (new.place_id, new.name, new.address))
    execute function calendar_touched();

drop trigger if exists calendar_follows on contacts;
create constraint trigger calendar_follows after update on contacts
    deferrable initially deferred for each row
    when (
        (old.contact_id, old.name, old.mobile, old.phone, old.email)
        is distinct from (new.contact_id, new.name, new.mobile, new.phone, new.email)
    )
    execute function calendar_touched();

drop trigger if exists calendar_follows on workers;
create constraint trigger calendar_follows after update on workers
    deferrable initially deferred for each row
    when ((old.worker_id, old.calendar_email) is distinct from (new.worker_id, new.calendar_email))
    execute function calendar_touched();

-- TRUNCATE fires no row triggers. (The other tables cannot be truncated without one of these two.)
create or replace trigger calendar_truncated after truncate on jobs
    for each statement execute function calendar_truncated();
create or replace trigger calendar_truncated after truncate on assignments
    for each statement execute function calendar_truncated();
create or replace trigger calendar_truncate_refused before truncate on calendar_job
    for each statement execute function calendar_truncate_refused();

revoke execute on procedure calendar_take_turn, calendar_follow, calendar_rebuild from public;

call calendar_rebuild();
commit;
