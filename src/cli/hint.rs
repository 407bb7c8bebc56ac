//! What to do about an error: the next command to type, or the setting to look at.

use tokio_postgres::error::SqlState;

use crate::db::{self, ConnectCause};
use crate::engine::{AdoptionError, Error, Fault, HistoryError, HookError, Lacks, Obstacle, OutOfStep, Version};

/// Sessions set `row_security` to off: hidden rows are an error, and do not count as absent.
const ROW_SECURITY_HINT: &str = "a policy would hide rows from this role, and they would count as absent: connect as a role \
    with BYPASSRLS, or run ALTER TABLE <table> NO FORCE ROW LEVEL SECURITY as the owner";

const READ_ONLY_HINT: &str = "a setting makes its transactions read-only: to remove it, ALTER ROLE or ALTER DATABASE \
    ... RESET default_transaction_read_only; for this run alone, add ?options=-cdefault_transaction_read_only%3Doff to the URL";

/// What to do about a missing right of this role, or of its sessions.
pub(super) fn rights_hint(error: &Error) -> Option<&'static str> {
    let (Error::Migration { source, .. }
    | Error::Hook { source: HookError::Database(source), .. }
    | Error::Database(source)) = error
    else {
        return None;
    };
    match source {
        db::Error::Server(report) if report.is_row_security() => Some(ROW_SECURITY_HINT),
        _ if source.is(&SqlState::INSUFFICIENT_PRIVILEGE) => {
            Some("connect as the role that owns these tables, or as a member of it: GRANT <owner> TO <role>")
        }
        _ if source.is(&SqlState::READ_ONLY_SQL_TRANSACTION) => Some(READ_ONLY_HINT),
        _ => None,
    }
}

/// What to do about a failed statement.
fn statement_hint(error: &db::Error) -> Option<&'static str> {
    Some(match error {
        _ if error.is(&SqlState::QUERY_CANCELED) => {
            "if that was a statement_timeout of the database URL, give a longer one; then run migrate up again"
        }
        _ if error.is(&SqlState::DISK_FULL) => {
            "free space on the server's volume, then run migrate up again: it continues where it stopped"
        }
        _ if error.is(&SqlState::LOCK_NOT_AVAILABLE) => {
            "end the transactions that hold the table (see pg_stat_activity), or give a longer --lock-wait"
        }
        _ if db::ALREADY_THERE.iter().any(|state| error.is(state)) => {
            "an object of that name exists. If a backup was restored in part, or over a newer database, the history is \
             older than the objects: restore the backup whole, with the schema migrate, into an empty database, and run \
             migrate up there. If the object is not this program's, rename or drop it, then run migrate up again"
        }
        _ => return None,
    })
}

pub(super) fn hint(error: &Error) -> Option<String> {
    if let Some(hint) = rights_hint(error) {
        return Some(hint.to_owned());
    }
    let hint = match error {
        Error::Database(error)
        | Error::Hook {
            source:
                HookError::Database(
                    error @ (db::Error::Lost { .. } | db::Error::Connect { .. } | db::Error::SplitServers { .. }),
                ),
            ..
        }
        | Error::Migration { source: error @ db::Error::Lost { .. }, .. } => return database_hint(error),
        Error::History(error) => history_hint(error),
        Error::ServerTooOld { minimum, .. } => format!("upgrade the server to PostgreSQL {minimum} or newer first"),
        Error::Standby => {
            "connect to the primary server; of several hosts in the URL, target_session_attrs=read-write finds it"
                .to_owned()
        }
        Error::Privilege { grant, .. } => format!("as the owner, run: {grant}"),
        Error::NoSchema { role, .. } => {
            format!("for example: ALTER ROLE {} SET search_path TO public", db::ident(role))
        }
        Error::ForeignLedger { ledger, .. } => format!(
            "if this is the right database and {ledger} has nothing to do with it, rename that table; else check the URL"
        ),
        Error::Ownership { owner, role, lacks: Lacks::Rights, .. } => {
            let (grant, heir) = (format!("GRANT {} TO {}", db::ident(owner), db::ident(role)), db::ident(role));
            format!(
                "connect as {owner}, or as a superuser run: {grant}; if it is a member already: ALTER ROLE {heir} INHERIT, \
                 and from PostgreSQL 16 on {grant} WITH INHERIT TRUE"
            )
        }
        Error::Ownership { owner, role, lacks: Lacks::Becoming, .. } => format!(
            "connect as {owner}, or as a superuser run: GRANT {0} TO {1}; from PostgreSQL 16 on: GRANT {0} TO {1} WITH SET TRUE",
            db::ident(owner),
            db::ident(role)
        ),
        Error::Ownership { object, role, lacks: Lacks::Object, .. } => {
            format!("as a superuser, run: ALTER {object} OWNER TO {}", db::ident(role))
        }
        Error::Dependent { remedy: Some(remedy), .. } => {
            format!("nothing was written; drop it, or remove its dependency, first, for example: {remedy}")
        }
        Error::Dependent { remedy: None, .. } => {
            "nothing was written; drop it, or remove its dependency, first".to_owned()
        }
        Error::Adoption(error) => adoption_hint(error),
        Error::OutOfStep(found) => out_of_step_hint(found),
        Error::TargetBehind { target, .. } => target_behind_hint(*target),
        Error::Lock(_) | Error::Hook { source: HookError::Lock(_), .. } => {
            "wait for it to end, or give a longer --lock-wait".to_owned()
        }
        Error::NotRemade { object, .. } => format!(
            "nothing was written; restore the definition of that {} (migrate verify schema -v shows both), or drop its table, \
             which migrate up creates again; then run migrate up",
            object.split(' ').next().unwrap_or("object")
        ),
        Error::Entangled { holder, .. } => format!(
            "nothing was left behind; stop that program, or as a superuser run: SELECT pg_catalog.pg_terminate_backend({}); then \
             run migrate up again",
            holder.pid
        ),
        Error::UnusableIndex { .. } => {
            "IF NOT EXISTS accepts any relation of that name; run migrate up with the hook invalid-index-cleanup"
                .to_owned()
        }
        Error::Refused { skipped, .. } if !skipped.is_empty() => {
            format!("run migrate up without --skip-hook {}", skipped.join(" --skip-hook "))
        }
        Error::Hook { source: HookError::Failed { hint, .. } | HookError::Refused { hint, .. }, .. } => {
            return hint.clone();
        }
        Error::Migration { source, .. } if source.is(&SqlState::ACTIVE_SQL_TRANSACTION) => {
            "write this as the first line of the file: -- migrate: no-transaction".to_owned()
        }
        Error::Overload { remedy, .. } => {
            format!(
                "nothing was written; check what it does, then run: {remedy}; migrate verify schema lists all of them"
            )
        }
        Error::RowSecurity { table, role } => row_security_hint(table, role),
        Error::ForeignSchema { owner, .. } => format!(
            "nothing was written; this program keeps its history in a schema of that name: as {owner}, rename yours with \
             ALTER SCHEMA migrate RENAME TO ..., or share it with GRANT CREATE, USAGE ON SCHEMA migrate TO <this role>"
        ),
        Error::ReadOnly { .. } => format!("nothing was written; {READ_ONLY_HINT}"),
        Error::Migration { obstacle: Some(obstacle), .. } => obstacle_hint(obstacle),
        Error::Migration { source, .. } | Error::Hook { source: HookError::Database(source), .. }
            if statement_hint(source).is_some() =>
        {
            statement_hint(source)?.to_owned()
        }
        Error::Hook { .. } => "fix the cause, then run migrate up again: it continues where it stopped".to_owned(),
        _ => return None,
    };
    Some(hint)
}

fn history_hint(error: &HistoryError) -> String {
    match error {
        HistoryError::Newer { .. } => "run the version of this program that migrated it, or a newer one".to_owned(),
        HistoryError::Missing { .. } => "run a build of this program that has that migration".to_owned(),
        HistoryError::Divergent { .. } => {
            "an applied migration must not change: restore the file, and put the change into a new migration".to_owned()
        }
        HistoryError::OutOfOrder { restore, .. } => format!(
            "if its row was deleted from the history, put it back: {restore} if the file is new, give it a version above the \
             current one"
        ),
    }
}

fn row_security_hint(table: &str, role: &str) -> String {
    let role = db::ident(role);
    format!(
        "nothing was written; as a superuser run: ALTER ROLE {role} BYPASSRLS; or as the owner of the table: ALTER TABLE {table} NO \
         FORCE ROW LEVEL SECURITY"
    )
}

fn search_path_hint(schema: &str) -> String {
    let plain = schema.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    let name = if plain { schema.to_owned() } else { db::ident(schema) };
    let encoded = percent_encoding::utf8_percent_encode(&name, percent_encoding::NON_ALPHANUMERIC);
    format!("nothing was written; add that schema to the search path, in the URL: ?options=-csearch_path%3D{encoded}")
}

fn obstacle_hint(obstacle: &Obstacle) -> String {
    match obstacle {
        Obstacle::Holder(holder) => format!(
            "{holder} was in the way: end its transaction, SELECT pg_catalog.pg_terminate_backend({}), or give a longer --lock-wait",
            holder.pid
        ),
        Obstacle::Unrecorded { statement } => format!(
            "if an older migrator was killed between making this and recording it, run: {statement} then migrate up \
             again, which checks it"
        ),
    }
}

fn target_behind_hint(target: Version) -> String {
    format!(
        "nothing was written; to go back to version {target}, restore a backup of that time, whole and into an empty database; \
         to leave the database as it is, give no --target, or one that is not below it"
    )
}

/// A backup that is restored in part leaves history and objects of different times.
const RESTORE_WHOLE: &str = "restore one backup whole, the schema migrate with the others, into an empty database \
    (pg_restore without --clean), and run migrate up there";

fn out_of_step_hint(found: &OutOfStep) -> String {
    match found {
        OutOfStep::Behind { record: Some(record), .. } if record.in_older_ledger => format!(
            "nothing was written; if an older migrator was killed between making this and recording it, run: {} then migrate \
             up again, which checks it. If a backup was restored over a newer database, {RESTORE_WHOLE}",
            record.statement
        ),
        OutOfStep::Behind { record: Some(record), .. } => format!(
            "nothing was written; all objects are as V{} to V{} leave them. If only the history was lost, or was restored \
             from an older backup, correct it with: {} then run migrate up, and migrate verify. If the tables were restored \
             from a backup, too, {RESTORE_WHOLE}",
            record.first, record.last, record.statement
        ),
        OutOfStep::Behind { there, record: None, .. } => {
            let stray = there.first().map(|(object, _)| object.as_str()).unwrap_or_default();
            format!(
                "nothing was written; was a backup restored over a newer database? Objects that are not in the backup stay, even \
                 with pg_restore --clean: {RESTORE_WHOLE}. If {stray} is not this program's, rename it first"
            )
        }
        OutOfStep::Ahead { .. } => format!(
            "nothing was written; was only the schema migrate restored, or were the tables restored from an older backup? \
             Then {RESTORE_WHOLE}"
        ),
    }
}

fn adoption_hint(error: &AdoptionError) -> String {
    match error {
        AdoptionError::Incomplete { .. } => {
            "nothing was written; migrate this database further with the migrator that recorded it, then run migrate up"
                .to_owned()
        }
        AdoptionError::Gap { table, missing, .. } => {
            let entry = missing.first().map(String::as_str).unwrap_or_default();
            format!(
                "nothing was written; if it was applied, run: INSERT INTO {table} (version) VALUES ('{entry}'); migrate up \
                 then checks its objects. If it was not applied, delete the later entries"
            )
        }
        AdoptionError::Elsewhere { schema, .. } => search_path_hint(schema),
        AdoptionError::Restored { .. } => {
            "nothing was written; was a backup restored over an upgraded database? Then restore it once more into an empty \
             one (psql \"$DATABASE_URL\" -c 'CREATE DATABASE ...', then pg_restore --dbname= with the URL of that one), and run \
             migrate up there"
                .to_owned()
        }
        AdoptionError::Unexplained { .. } => {
            "nothing was written; check the database and the search path. If it was restored from a backup of one schema \
             (pg_dump -n public), restore the schema migrate as well, which holds the history"
                .to_owned()
        }
        AdoptionError::Problems { table, problems } => {
            let remedies: Vec<_> = problems.iter().filter_map(|problem| problem.remedy.as_deref()).collect();
            if let Some(schema) = problems.iter().find_map(|problem| problem.elsewhere.as_deref()) {
                search_path_hint(schema)
            } else if problems.iter().all(|problem| problem.what == Fault::StillThere) {
                let mut entries: Vec<_> = problems.iter().map(|problem| format!("'{}'", problem.recorded_as)).collect();
                entries.dedup();
                format!(
                    "nothing was written; these were not applied, so run this, then migrate up again:\n  \
                     DELETE FROM {table} WHERE version IN ({});",
                    entries.join(", ")
                )
            } else if remedies.is_empty() {
                "nothing was written; restore these objects from a backup, or finish with the migrator that recorded \
                 them, then run migrate up again"
                    .to_owned()
            } else {
                let rest = match problems.len() - remedies.len() {
                    0 => "",
                    _ => ", restore the others from a backup",
                };
                format!("nothing was written; run this{rest}, then migrate up again:\n  {}", remedies.join("\n  "))
            }
        }
    }
}

/// How to create the missing database on the server of the URL. The command has no password: psql asks for it.
fn create_hint(database: &str) -> String {
    let beginning = "check the database's name in the URL, or create it";
    let parts = database.split_once('@').and_then(|(user, rest)| Some((user, rest.split_once('/')?)));
    let Some((user, (server, name))) = parts.filter(|(_, (server, _))| !server.is_empty()) else {
        return beginning.to_owned();
    };
    let user = percent_encoding::utf8_percent_encode(user, percent_encoding::NON_ALPHANUMERIC);
    let create = format!("CREATE DATABASE {}", db::ident(name)).replace('\'', "'\\''");
    format!("{beginning}: psql 'postgres://{user}@{server}/postgres' -c '{create}'")
}

fn database_hint(error: &db::Error) -> Option<String> {
    let hint = match error {
        db::Error::BadUrl { advice, .. } => advice.as_str(),
        db::Error::Authorities { advice, .. } => advice,
        db::Error::Connect { cause, database, .. } => match cause {
            ConnectCause::Tls => "check sslmode and sslrootcert in the database URL",
            ConnectCause::TlsHandshakeClosed => "leave out sslnegotiation=direct, which needs PostgreSQL 17 or newer",
            ConnectCause::Silent => {
                "check that it is a PostgreSQL server and that it responds; for a slow server, add connect_timeout=60 to the URL"
            }
            ConnectCause::ReadOnly => {
                "target_session_attrs=read-write needs a server that accepts writes: name the primary server in the URL"
            }
            ConnectCause::NotReadOnly => {
                "target_session_attrs=read-only needs a server that refuses writes: to write, use target_session_attrs=read-write"
            }
            ConnectCause::PasswordMissing => "put the password into the database URL",
            ConnectCause::Unreachable => "check that the server is running, and host and port in the database URL",
            ConnectCause::Refused(sqlstate) => match sqlstate.as_str() {
                "3D000" => return Some(create_hint(database)),
                "28P01" => "check user and password in the database URL",
                "28000" => "check the user in the database URL, and pg_hba.conf on the server",
                "53300" => "the server has no connection left: end some, or raise max_connections",
                "57P03" => "the server is starting up or shutting down; try again when it is ready",
                // An unknown parameter, an invalid value, or a parameter that this role may not set.
                "22023" | "42704" | "42501" | "42601" | "55P02" => {
                    "the server refuses a setting: check options in the database URL"
                }
                _ => return None,
            },
        },
        db::Error::SwappedSession { .. } => {
            "connect to the server directly, or through a pool in session mode, for example with MIGRATE_DATABASE_URL"
        }
        db::Error::SplitServers { .. } => {
            "name one server in the database URL; of several hosts, the one that takes writes: \
             target_session_attrs=read-write"
        }
        db::Error::Lost { .. } => {
            "run it again once the server is back: unfinished work was rolled back, finished work stays"
        }
        db::Error::Server(report) if report.sqlstate == SqlState::LOCK_NOT_AVAILABLE.code() => {
            "end the transaction that holds it, or give a longer --lock-wait"
        }
        db::Error::SuperuserRefused(found) => return Some(superuser_hint(&found.owner, found.may_log_in)),
        db::Error::AlteredHistory { remedy, .. } => {
            let remedy = remedy.as_deref().unwrap_or("find out who created it, and remove it");
            return Some(format!("nothing was written; {remedy}, then check the history: migrate verify history"));
        }
        db::Error::Server(_) | db::Error::Conversion { .. } | db::Error::Interrupted => return None,
    };
    Some(hint.to_owned())
}

/// How to connect without a superuser.
fn superuser_hint(owner: &str, may_log_in: bool) -> String {
    let member = format!(
        "a role that is a member of {owner} and of nothing else: CREATE ROLE deployer LOGIN PASSWORD '...' IN ROLE {}",
        db::ident(owner)
    );
    if may_log_in {
        format!("nothing was written; connect as {owner}, or as {member}")
    } else {
        format!("nothing was written; connect as {member}")
    }
}
