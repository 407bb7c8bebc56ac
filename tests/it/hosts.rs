//! URLs that lead to more than one server, and servers that do not answer.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};

use crate::harness::{
    Finished, Program, TestDatabase, session, special_server, standby_of, start_special_server_again,
    stop_special_server, with_authority,
};

/// `host:port` of a URL.
fn authority(url: &str) -> &str {
    url.split(['@', '/']).nth(3).expect("a URL with a user")
}

async fn run(url: &str, args: &[&'static str]) -> Finished {
    let program = Program::new().env("DATABASE_URL", url).args(args.iter().copied());
    tokio::task::spawn_blocking(|| program.run()).await.expect("no panic")
}

/// Two servers that know nothing of each other, each with an empty database of the same name.
async fn two_servers(name: &str) -> [TestDatabase; 2] {
    let (one, _) = special_server(&format!("{name}-one"), &[]);
    let (other, _) = special_server(&format!("{name}-other"), &[]);
    [TestDatabase::on_server(&one, "split").await, TestDatabase::on_server(&other, "split").await]
}

const UNTOUCHED: &str = "SELECT to_regnamespace('migrate') IS NULL AND to_regclass('workspace') IS NULL";

#[tokio::test]
async fn a_run_over_several_hosts_stays_on_the_one_that_answered_first() {
    let [locked, free] = two_servers("random").await;
    let older = locked.session().await;
    older.batch_execute("SELECT pg_advisory_lock(7244554146635925501)").await.unwrap();
    let both = format!("{},{}", authority(&locked.url), authority(&free.url));
    let url = with_authority(&locked.url, None, Some(&both)) + "?load_balance_hosts=random";
    let mut exits = Vec::new();
    for target in ["1", "32", "72", "73", "74", "75", "76", "77", "78", "81", "82", "84"] {
        let ended = run(&url, &["up", "--lock-wait", "100ms", "--target", target]).await;
        exits.push(ended.status.code().unwrap());
        let untouched: bool = locked.value(UNTOUCHED).await;
        assert!(untouched, "an older migrator held the lock there: {exits:?}\n{}", ended.stderr);
    }
    assert!(exits.iter().all(|exit| [0, 5].contains(exit)), "{exits:?}");
    assert!(exits.contains(&0) && exits.contains(&5), "twelve times the same server: {exits:?}");
}

#[tokio::test]
async fn an_address_behind_which_servers_take_turns_is_refused() {
    let [one, other] = two_servers("turns").await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let servers = [authority(&one.url).to_owned(), authority(&other.url).to_owned()];
    tokio::spawn(async move {
        for turn in 0.. {
            let (mut client, _) = listener.accept().await.unwrap();
            let server: &String = &servers[turn % 2];
            let mut server = TcpStream::connect(server).await.unwrap();
            tokio::spawn(async move { copy_bidirectional(&mut client, &mut server).await });
        }
    });
    let url = with_authority(&one.url, None, Some(&address));
    for _ in 0..2 {
        let ended = run(&url, &["up"]).await.expect(6);
        for part in ["leads to two servers", authority(&one.url), authority(&other.url), "running since", "read-write"]
        {
            assert!(ended.stderr.contains(part), "{part}: {}", ended.stderr);
        }
    }
    assert!(one.value::<bool>(UNTOUCHED).await && other.value::<bool>(UNTOUCHED).await);
}

#[tokio::test]
async fn of_several_hosts_the_one_that_takes_writes_is_found() {
    let (primary, folder) = special_server("hosts-primary", &[]);
    let standby = standby_of(&folder, "hosts-standby");
    start_special_server_again(&folder);
    let database = TestDatabase::on_server(&primary, "hosts").await;
    for _ in 0..200 {
        let there = "SELECT EXISTS (SELECT FROM pg_database WHERE datname = 'hosts')";
        if session(&standby).await.query_one(there, &[]).await.unwrap().get(0) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let [p, s] = [authority(&primary), authority(&standby)];
    let over = |hosts: &str, more: &str| with_authority(&database.url, None, Some(hosts)) + more;
    for (hosts, target) in
        [(format!("{s},{p}"), "32"), (format!("{p},{s}"), "72"), (format!("127.0.0.1:1,{s},{p}"), "73")]
    {
        let url = over(&hosts, "?target_session_attrs=read-write");
        run(&url, &["up", "--target", target]).await.expect(0);
        let url = over(&hosts, "?target_session_attrs=read-write&load_balance_hosts=random");
        run(&url, &["status"]).await.expect(0);
    }
    assert_eq!(database.versions().await.last(), Some(&73));
    // Without the option the first one that answers is taken, as it always was.
    let ended = run(&over(&format!("{s},{p}"), ""), &["up"]).await.expect(7);
    assert!(ended.stderr.contains("standby") && ended.stderr.contains("read-write"), "{}", ended.stderr);
    run(&over(&format!("127.0.0.1:1,{p}"), ""), &["up", "--target", "74"]).await.expect(0);
    let ended = run(&over("127.0.0.1:1,127.0.0.1:2", ""), &["up"]).await.expect(6);
    assert!(ended.stderr.contains("127.0.0.1:1: ") && ended.stderr.contains("127.0.0.1:2: "), "{}", ended.stderr);
}

#[tokio::test]
async fn a_watch_whose_server_is_gone_goes_on_with_the_next_host_and_comes_back() {
    let (first, folder) = special_server("failover-one", &[]);
    let (second, _) = special_server("failover-other", &[]);
    let [one, other] =
        [TestDatabase::on_server(&first, "split").await, TestDatabase::on_server(&second, "split").await];
    for database in [&one, &other] {
        run(&database.url, &["up"]).await.expect(0);
    }
    let both = format!("{},{}", authority(&one.url), authority(&other.url));
    let url = with_authority(&one.url, None, Some(&both));
    let watch = Program::new().env("DATABASE_URL", &url).args(["rollup", "watch", "--every", "1s"]).start();
    let ticked = "SELECT last_run_finished_at IS NOT NULL FROM task_usage_hourly_rollup_state";
    one.wait_until(ticked).await;
    assert!(!other.value::<bool>(ticked).await);
    stop_special_server(&one.url, "INT").await;
    other.wait_until(ticked).await;
    // What fails there is tried where it is tried first.
    start_special_server_again(&folder);
    one.batch("UPDATE task_usage_hourly_rollup_state SET last_run_finished_at = NULL").await;
    other.batch("ALTER FUNCTION rollup_task_usage_hourly() RENAME TO gone").await;
    one.wait_until(ticked).await;
    watch.signal("TERM");
    tokio::task::spawn_blocking(|| watch.wait()).await.unwrap().expect(0);
}

/// A server that goes silent after it has answered whether it speaks TLS, if that is asked first and `answers` is given.
async fn silent_server(answers: Option<&'static [u8]>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        let mut kept = Vec::new();
        loop {
            let (mut client, _) = listener.accept().await.unwrap();
            if let Some(answers) = answers {
                let mut request = [0; 8];
                client.read_exact(&mut request).await.unwrap();
                client.write_all(answers).await.unwrap();
            }
            kept.push(client);
        }
    });
    address
}

#[tokio::test]
async fn a_server_that_never_answers_is_given_up() {
    for (what, answers, more) in [
        ("at once", None, ""),
        ("in the middle of TLS", Some(&b"S"[..]), "&sslmode=require"),
        ("in the middle of the authentication", Some(b"N"), ""),
    ] {
        let url = format!("postgres://u:p@{}/d?connect_timeout=2{more}", silent_server(answers).await);
        for args in [&["up"][..], &["status"], &["rollup", "tick"], &["verify"], &["repair", "runs"]] {
            let started = Instant::now();
            let ended = run(&url, args).await.expect(6);
            let said = "the server accepted the connection but did not answer within 2s";
            assert!(ended.stderr.contains(said), "{what}: {}", ended.stderr);
            assert!(started.elapsed() < Duration::from_secs(4), "{what}: it took {:?}", started.elapsed());
        }
    }
}

#[tokio::test]
async fn a_watch_says_that_the_server_does_not_answer_and_goes_on() {
    let url = format!("postgres://u:p@{}/d?connect_timeout=1", silent_server(None).await);
    let runner = Program::new().env("DATABASE_URL", &url).args(["rollup", "watch"]).start();
    tokio::time::sleep(Duration::from_millis(4500)).await;
    runner.signal("TERM");
    let ended = tokio::task::spawn_blocking(|| runner.wait()).await.unwrap().expect(0);
    assert!(ended.stderr.contains("did not answer within 1s"), "{}", ended.stderr);
}

#[tokio::test]
async fn whoever_waits_for_an_answer_is_told_so_after_two_seconds() {
    let url = format!("postgres://u:p@{}/d", silent_server(None).await);
    let runner = Program::new().env("DATABASE_URL", &url).args(["up"]).start();
    tokio::time::sleep(Duration::from_secs(3)).await;
    runner.signal("TERM");
    let ended = tokio::task::spawn_blocking(|| runner.wait()).await.unwrap().expect(143);
    assert!(ended.stderr.contains("waiting for u@127.0.0.1:"), "{}", ended.stderr);
}
