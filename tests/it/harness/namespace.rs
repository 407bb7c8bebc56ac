//! A machine of its own: a network namespace with a cable to this one, which can be cut in either direction.

use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

static COUNTER: AtomicU32 = AtomicU32::new(0);

/// Another machine, gone at the end of the test.
pub struct Machine {
    pub name: String,
    /// This machine, as seen from there.
    pub here: String,
    /// That machine, as seen from here.
    pub there: String,
}

impl Machine {
    /// Connects another machine. None, said loudly, only where `MIGRATE_TEST_NO_NETNS` is set.
    pub fn new() -> Option<Self> {
        if std::env::var_os("MIGRATE_TEST_NO_NETNS").is_some() {
            eprintln!("NOT TESTED: MIGRATE_TEST_NO_NETNS is set, so nobody knows what happens when a machine vanishes");
            return None;
        }
        let number = std::process::id() * 8 + COUNTER.fetch_add(1, Ordering::Relaxed);
        // A network of four addresses, out of those that are set aside for tests.
        let network = format!("198.{}.{}", 18 + (number >> 14) % 2, (number >> 6) % 256);
        let [here, there] = [1, 2].map(|host| format!("{network}.{}", number % 64 * 4 + host));
        let machine = Self { name: format!("mig{number}"), here, there };
        let (name, [near, far]) = (machine.name.clone(), machine.cards());
        ip(&["netns", "add", &name]);
        ip(&["link", "add", &near, "type", "veth", "peer", "name", &far, "netns", &name]);
        ip(&["address", "add", &format!("{}/30", machine.here), "dev", &near]);
        ip(&["link", "set", &near, "up"]);
        ip(&["-n", &name, "address", "add", &format!("{}/30", machine.there), "dev", &far]);
        ip(&["-n", &name, "link", "set", &far, "up"]);
        Some(machine)
    }

    /// From now on nothing that either of the two sends arrives, and nobody is told: frames go to a card that is not there.
    pub fn cut(&self) {
        let [near, far] = self.cards();
        let nobody = ["lladdr", "02:00:00:00:00:01", "nud", "permanent"];
        ip(&[&["neigh", "replace", &self.there, "dev", &near], &nobody[..]].concat());
        ip(&[&["-n", &self.name, "neigh", "replace", &self.here, "dev", &far], &nobody[..]].concat());
    }

    /// Everything arrives again.
    pub fn mend(&self) {
        let [near, far] = self.cards();
        ip(&["neigh", "delete", &self.there, "dev", &near]);
        ip(&["-n", &self.name, "neigh", "delete", &self.here, "dev", &far]);
    }

    fn cards(&self) -> [String; 2] {
        ["a", "b"].map(|end| format!("{}{end}", self.name))
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // The cable goes with it.
        let _ = Command::new("ip").args(["netns", "delete", &self.name]).output();
    }
}

#[track_caller]
fn ip(args: &[&str]) {
    let needs = "this test needs root, CAP_NET_ADMIN and the program ip (script/server install gets it); \
                 MIGRATE_TEST_NO_NETNS=1 leaves it out";
    let done = Command::new("ip").args(args).output().unwrap_or_else(|error| panic!("ip: {error}; {needs}"));
    assert!(done.status.success(), "ip {}: {}; {needs}", args.join(" "), String::from_utf8_lossy(&done.stderr));
}
