-- The file format, version 1. One SQLite file holds every fact, in the order it became true.
--
-- Invariants, each held by the line that names it:
--   * inside one stream, seq counts 0, 1, 2 … without a hole            (unique (stream, seq), writer)
--   * an event never changes and never leaves                          (the triggers)
--   * every event's digest covers its stream's name, its envelope, its
--     payload and the digest before it                                 (chain.py, docs/file_format.md)
--   * events.running runs over all event digests in order of position,
--     so a whole stream cannot vanish                                  (writer, verify)
--   * each stream reached at least what its head says                  (writer, verify)
--
-- position orders the whole file. In this format it counts 1, 2, 3 … without a
-- hole, so the last one is also the number of events. Readers rely on less: it
-- grows, and they resume after the last position they saw.
--
-- A plain append writes three pages: the last of events, of its index and of
-- payloads. So heads.seq and heads.digest move only when the owner of a stream
-- says something else anyway (claim, release, status, anchor). The end of a
-- stream is its last event, and the end of the store is the last row of events.
--
-- Payload bytes stand in payloads, under the position of their event, each with
-- a random salt. A payload above 64 KiB stands once in blobs, under its SHA-256.
-- Erasing a payload leaves its commitment, SHA-256(salt || payload), and asks for
-- a later event of type payload.erased in the same stream whose cause is the seq
-- of the erased event. Nothing else can be erased.
--
-- heads.worker, heads.status, heads.wake_at and workers are coordination, not
-- evidence: they say who works on a stream now and what is due, and no digest
-- covers them.
--
-- application_id is 0x706c6179 ("play"), user_version is the format version.

create table store (
  id     integer primary key check (id = 1),
  scheme text    not null                   -- of the running digest: playhead.store/1
) strict;

create table streams (
  stream integer primary key,
  name   text    not null unique,           -- kind/id
  scheme text    not null                   -- of the chain: playhead.event/1
) strict;

create table heads (
  stream  integer primary key,
  seq     integer not null,                 -- the stream reached at least this many events
  digest  blob    not null,                 -- of event seq - 1
  epoch   integer not null,                 -- of the lease, bumped by every claim
  worker  text,                             -- who holds the lease
  status  text    not null default '',      -- what the owner last said of the stream
  wake_at integer                           -- nanoseconds UTC, when it is due again
) strict;

create index heads_by_status on heads (status, wake_at) where status <> '';

create table events (
  position  integer primary key,            -- the writer's: 1, 2, 3 … without a hole
  stream    integer not null,
  seq       integer not null check (seq >= 0),
  type      text    not null,
  version   integer not null,
  at        integer not null,               -- nanoseconds UTC, shown and never used for order
  epoch     integer not null,
  op        text    not null,               -- the operation it belongs to, or ''
  cause     integer,                        -- seq of the event that led to it
  append_id blob,                           -- on the first event of each append
  digest    blob    not null,
  running   blob    not null,               -- over the digests of all events up to this one
  unique (stream, seq)
) strict;

create table payloads (
  position   integer primary key,
  salt       blob,
  bytes      blob,                          -- or:
  blob       blob,                          -- address of a large payload in blobs
  commitment blob,                          -- only what is left of an erased payload
  check ((commitment is null) = (salt is not null)),
  check ((bytes is not null) + (blob is not null) + (commitment is not null) = 1)
) strict;

create table blobs (
  address blob primary key,                 -- SHA-256 of bytes
  bytes   blob not null
) strict;

create table workers (
  worker text primary key,
  boot   text    not null,                  -- of the machine it runs on
  until  integer not null                   -- boot time in nanoseconds when its leases end
) strict;

create trigger events_never_change before update on events
begin select raise(abort, 'an event never changes'); end;

create trigger events_never_leave before delete on events
begin select raise(abort, 'an event never leaves'); end;

create trigger streams_never_change before update on streams
begin select raise(abort, 'a stream keeps its name'); end;

create trigger streams_never_leave before delete on streams
begin select raise(abort, 'a stream never leaves'); end;
