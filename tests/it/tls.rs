//! Encryption, and whose certificates are trusted.

use std::path::Path;
use std::process::Command;

use crate::connection::one_line;
use crate::harness::{Program, server_url, session, special_server, with_authority};

#[tokio::test]
async fn encryption_is_what_sslmode_says() {
    let (url, folder) = special_server("tls", &["--tls"]);
    let certificate = folder.join("server.crt").display().to_string();
    let with = |options: &str| Program::new().env("DATABASE_URL", &format!("{url}?{options}")).args(["status"]).run();

    with("sslmode=require").expect(0);
    with(&format!("sslmode=verify-full&sslrootcert={certificate}")).expect(0);
    one_line(with("sslmode=verify-full"), 6, &["certificate is not trusted", "check sslmode and sslrootcert"]);

    // The certificate names 127.0.0.1 only.
    let by_name = |mode: &str| {
        let url = with_authority(&url, None, None).replace("@127.0.0.1:", "@localhost:");
        Program::new()
            .env("DATABASE_URL", &format!("{url}?sslmode={mode}&sslrootcert={certificate}"))
            .args(["status"])
            .run()
    };
    by_name("verify-ca").expect(0);
    one_line(by_name("verify-full"), 6, &["certificate not valid for name"]);

    // Encrypted without being asked, where the server can; every session of a run, and its cancel requests.
    let admin = session(&url).await;
    let seen = admin
        .query_one("SELECT count(*) FROM pg_stat_ssl s JOIN pg_stat_activity a USING (pid) WHERE s.ssl", &[])
        .await
        .unwrap();
    assert_eq!(seen.get::<_, i64>(0), 0, "the test's own session is not encrypted");
    let holder = session(&url).await;
    holder.batch_execute("SELECT pg_advisory_lock(7244554146635925501)").await.unwrap();
    let runner = Program::new().env("DATABASE_URL", &url).args(["up"]).start();
    let encrypted = "SELECT count(*) = 2 FROM pg_stat_ssl s JOIN pg_stat_activity a USING (pid)
                     WHERE s.ssl AND a.application_name LIKE 'migrate%'";
    for _ in 0..400 {
        if admin.query_one(encrypted, &[]).await.unwrap().get(0) {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(25)).await;
    }
    assert!(admin.query_one(encrypted, &[]).await.unwrap().get::<_, bool>(0));
    runner.signal("TERM");
    runner.wait().expect(143);

    // A server that cannot, and a caller who insists.
    one_line(
        Program::new().env("DATABASE_URL", &format!("{}?sslmode=require", server_url())).args(["status"]).run(),
        6,
        &["does not support TLS"],
    );
}

/// The certificate of an authority that has signed nothing here.
fn stranger(folder: &Path) -> String {
    let file = folder.join("stranger.pem");
    let made = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-days",
            "9",
            "-subj",
            "/CN=stranger",
            "-keyout",
            "/dev/null",
        ])
        .arg("-out")
        .arg(&file)
        .output()
        .expect("openssl can be run");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    file.display().to_string()
}

#[tokio::test]
async fn a_file_of_authorities_is_used_whatever_the_mode() {
    let (url, folder) = special_server("tls_files", &["--tls"]);
    let blank = folder.join("of mine's");
    std::fs::create_dir(&blank).unwrap();
    let certificate = blank.join("ca.pem").display().to_string();
    std::fs::copy(folder.join("server.crt"), &certificate).unwrap();
    let status = |url: &str| Program::new().env("DATABASE_URL", url).args(["status"]).run();
    let with = |options: &str, file: &str| {
        let file: String = file.bytes().map(|byte| format!("%{byte:02x}")).collect();
        status(&format!("{url}?sslrootcert={file}{options}"))
    };

    let stranger = stranger(&folder);
    for mode in ["", "&sslmode=prefer", "&sslmode=require", "&sslmode=verify-ca", "&sslmode=verify-full"] {
        with(mode, &certificate).expect(0);
        one_line(with(mode, &stranger), 6, &["check sslmode and sslrootcert"]);
    }
    with("&sslmode=disable", "/nowhere.pem").expect(0);

    // In a keyword string, where blanks and quotes are written in a way of their own.
    let (_, address) = url.split_once('@').expect("a URL with a user");
    let (port, _) = address.split_once(':').and_then(|(_, rest)| rest.split_once('/')).expect("a port");
    let keywords = |file: &str, mode: &str| {
        let file = file.replace('\'', "\\'");
        status(&format!(
            "host=127.0.0.1 port={port} user=postgres password=postgres dbname=postgres sslmode='{mode}' sslrootcert='{file}'"
        ))
    };
    keywords(&certificate, "verify-full").expect(0);
    one_line(keywords(&stranger, "require"), 6, &["check sslmode and sslrootcert"]);

    // A file that cannot be used is never passed over.
    let (empty, prose, directory) = (folder.join("empty.pem"), folder.join("prose.pem"), blank.display().to_string());
    std::fs::write(&empty, "\n").unwrap();
    std::fs::write(&prose, "Dear server,\n").unwrap();
    for (file, why) in [
        ("/nowhere.pem", "there is no such file"),
        (&*directory, "it is a directory"),
        (&*empty.display().to_string(), "the file is empty"),
        (&*prose.display().to_string(), "there is no certificate in it"),
    ] {
        for mode in ["", "&sslmode=require", "&sslmode=verify-full"] {
            let said = format!("cannot read the certificate authorities of {file}: {why}; sslrootcert must be a file");
            one_line(with(mode, file), 2, &[&said]);
        }
    }
}

#[tokio::test]
async fn the_authorities_of_the_system_are_trusted_for_a_whole_name_only() {
    let (url, folder) = special_server("tls_system", &["--tls"]);
    let certificate = folder.join("server.crt").display().to_string();
    let with = |options: &str, roots: &str| {
        let url = format!("{url}?{options}");
        Program::new()
            .env("DATABASE_URL", &url)
            .env("SSL_CERT_FILE", roots)
            .env("SSL_CERT_DIR", "/nowhere")
            .args(["status"])
            .run()
    };
    with("sslrootcert=system", &certificate).expect(0);
    with("sslrootcert=system&sslmode=verify-full", &certificate).expect(0);
    one_line(with("sslrootcert=system", &stranger(&folder)), 6, &["check sslmode and sslrootcert"]);
    for weak in ["disable", "allow", "prefer", "require", "verify-ca"] {
        let options = format!("sslrootcert=system&sslmode={weak}");
        one_line(with(&options, &certificate), 2, &["option sslmode", "write sslmode=verify-full, or leave it out"]);
    }
    let name = url.replace("@127.0.0.1:", "@localhost:");
    let url = format!("{name}?sslrootcert=system");
    one_line(
        Program::new().env("DATABASE_URL", &url).env("SSL_CERT_FILE", &certificate).args(["status"]).run(),
        6,
        &["certificate not valid for name"],
    );
    let empty = folder.join("empty.pem");
    std::fs::write(&empty, "").unwrap();
    one_line(
        with("sslmode=verify-full", &empty.display().to_string()),
        2,
        &["cannot read the certificate authorities of this system", "ca-certificates"],
    );
}

/// A server insists on hearing in the first message what is going to be spoken.
#[tokio::test]
async fn direct_encryption_names_its_protocol() {
    use std::io::Read;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let greeted = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut greeting = vec![0; 4096];
        let length = stream.read(&mut greeting).unwrap();
        greeting.truncate(length);
        greeting
    });
    let url = format!("postgres://app:s3cret@127.0.0.1:{port}/usage?sslmode=require&sslnegotiation=direct");
    let ended = Program::new().env("DATABASE_URL", &url).args(["status"]).run();
    let greeting = greeted.join().unwrap();
    assert_eq!(greeting.first(), Some(&0x16), "a handshake, and no question before it");
    assert!(greeting.windows(11).any(|bytes| bytes == b"\x0apostgresql"), "{greeting:?}");
    ended.expect(6);
}
