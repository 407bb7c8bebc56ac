//! Tests of the whole program on a real PostgreSQL server. `harness` gets the server; each other module is one
//! behaviour.

mod adoption;
mod chain;
mod connection;
mod exactness;
mod example;
mod faults;
mod forward;
mod harness;
mod history;
mod hooks;
mod indexes;
mod interrupt;
mod kill;
mod live;
mod locks;
mod output;
mod repair;
mod replicas;
mod rollup;
mod rollup_commands;
mod upgrade;
mod upgrade_matrix;
mod usage_queries;
mod verify_rollup;
mod verify_schema;
