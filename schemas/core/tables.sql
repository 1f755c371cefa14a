-- Stand-ins for Core's own tables, with the columns that a calendar shows. The sandbox and the tests apply this file.
-- Core's team does not: it adapts calendar_job.sql to the tables that Core has already.
-- Needs PostgreSQL 15 or newer. Apply it with psql. If a statement fails, the whole file is rolled back.
\set ON_ERROR_STOP on
begin;

-- A customer of Core. Every row below belongs to one site.
create table sites (
    site_id  text primary key check (site_id ~ '^[a-z0-9][a-z0-9-]*$'),
    name     text not null,
    timezone text not null
);

create table clients (
    client_id text primary key,
    site_id   text not null references sites on delete cascade,
    name      text not null
);
create index on clients (site_id);

-- Where a client's jobs are done. An event shows the name in brackets: "Core Job — Northwind (Plant 4)".
create table places (
    place_id  text primary key,
    client_id text not null references clients on delete cascade,
    name      text,
    address   text
);
create index on places (client_id);

create table contacts (
    contact_id text primary key,
    client_id  text not null references clients on delete cascade,
    name       text,
    mobile     text,
    phone      text,
    email      text
);
create index on contacts (client_id);

create table workers (
    worker_id      text primary key,
    site_id        text not null references sites on delete cascade,
    name           text not null,
    calendar_email text
);
create index on workers (site_id);

create table jobs (
    job_id             text primary key,
    site_id            text not null references sites on delete cascade,
    client_id          text references clients on delete set null,
    place_id           text references places on delete set null,
    contact_id         text references contacts on delete set null,
    status             text not null default 'scheduled',
    subject            text,
    customer_reference text,
    notes              text,
    starts_at          timestamptz check (isfinite(starts_at)),
    ends_at            timestamptz check (isfinite(ends_at)),
    price              numeric(10, 2), -- stands for the many columns of a real table that no calendar shows
    check (ends_at >= starts_at)
);
create index on jobs (site_id);
create index on jobs (client_id);
create index on jobs (place_id);
create index on jobs (contact_id);

create table assignments (
    job_id    text not null references jobs on delete cascade,
    worker_id text not null references workers on delete cascade,
    primary key (job_id, worker_id)
);
create index on assignments (worker_id);

commit;
