//! Reading a connection URL or a keyword string, by libpq's rules. Errors never quote a part of it.
//!
//! libpq takes the text before the first `@` as user and password, unless a `/` precedes it. So if a password has an
//! unescaped `@` or `/`, its rest becomes a host, a port or a database name, which messages show. Such a URL has another
//! `@` where none can be, and is refused for that.

use percent_encoding::percent_decode;

use super::Error;

/// Options and values, in their order in the text. The last one of a name counts.
pub(super) type Settings = Vec<(String, Vec<u8>)>;

/// The form of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// `postgres://…`
    Url,
    /// `host=… user=…`
    Keywords,
}

impl Form {
    pub fn of(text: &str) -> Self {
        // Decides which form the advice shows: for a malformed URL, that of a URL.
        let start = text.split(|c| c == '=' || is_blank(c)).next().unwrap_or_default();
        let begins = |word: &str| start.get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word));
        let is_url = start == text || start.contains("://") || begins("postgres:") || begins("postgresql:");
        if is_url { Self::Url } else { Self::Keywords }
    }

    /// How to write it.
    fn advice(self) -> String {
        match self {
            Self::Url => "it should read postgres://user:password@host:port/database; in user, password and database \
                          write @ as %40, / as %2F, : as %3A, ? as %3F, # as %23, % as %25"
                .to_owned(),
            Self::Keywords => "it should read host=... user=... password='...' dbname=..., or \
                               postgres://user:password@host:port/database; between the quotes write ' as \\' and \\ as \\\\"
                .to_owned(),
        }
    }

    /// An error about the text as a whole.
    pub fn refuse(self, reason: &str) -> Error {
        Error::BadUrl { reason: reason.to_owned(), advice: self.advice() }
    }
}

/// Parses the text.
///
/// # Errors
///
/// [`Error::BadUrl`], which tells what is wrong and quotes nothing.
pub(super) fn read(text: &str) -> Result<Settings, Error> {
    let form = Form::of(text);
    if text.contains('\0') {
        return Err(form.refuse("it contains a zero byte"));
    }
    match (["postgres://", "postgresql://"].iter().find_map(|scheme| text.strip_prefix(scheme)), form) {
        (Some(rest), _) => url(rest).map_err(|reason| Form::Url.refuse(reason)),
        (None, Form::Url) => Err(form.refuse("it does not begin with postgres:// or postgresql://")),
        (None, Form::Keywords) => keywords(text).map_err(|reason| form.refuse(reason)),
    }
}

fn url(rest: &str) -> Result<Settings, &'static str> {
    let mut settings = Settings::new();
    let mut rest = rest;
    if let Some(at) = rest.find(['@', '/']).filter(|at| rest[*at..].starts_with('@')) {
        let (user, password) = rest[..at].split_once(':').unwrap_or((&rest[..at], ""));
        settings.push(("user".to_owned(), decoded(user)?));
        settings.push(("password".to_owned(), decoded(password)?));
        rest = &rest[at + 1..];
    }
    let (path, query) = rest.split_once('?').map_or((rest, None), |(path, query)| (path, Some(query)));
    if path.contains('@') {
        return Err("it has an @ where no @ can be, so a character before it is not percent-encoded");
    }
    let (authority, database) = path.split_once('/').unwrap_or((path, ""));
    if database.contains(['&', '=', '#']) {
        return Err("its database name contains a character that must be percent-encoded, or its options lack their ?");
    }
    let (mut hosts, mut ports) = (Vec::new(), Vec::new());
    for address in authority.split(',') {
        let (host, port) = host_and_port(address)?;
        hosts.push(decoded(host)?);
        ports.push(decoded(port)?);
    }
    settings.push(("host".to_owned(), hosts.join(&b',')));
    if ports.iter().any(|port| !port.is_empty()) {
        settings.push(("port".to_owned(), ports.join(&b',')));
    }
    settings.push(("dbname".to_owned(), decoded(database)?));
    for setting in query.unwrap_or_default().split_terminator('&') {
        let Some((name, value)) = setting.split_once('=') else {
            return Err("the text after its ? is not a list of name=value");
        };
        let name = String::from_utf8(decoded(name)?).map_err(|_| "the name of an option is not UTF-8")?;
        let value = decoded(value)?;
        // The spelling of Java drivers, which libpq accepts.
        if name == "ssl" && value == b"true" {
            settings.push(("sslmode".to_owned(), b"require".to_vec()));
        } else {
            settings.push((name, value));
        }
    }
    Ok(settings)
}

fn host_and_port(address: &str) -> Result<(&str, &str), &'static str> {
    let Some(rest) = address.strip_prefix('[') else {
        return Ok(address.split_once(':').unwrap_or((address, "")));
    };
    match rest.split_once(']') {
        Some(("", _)) => Err("the address in its [] is empty"),
        Some((host, "")) => Ok((host, "")),
        Some((host, port)) => match port.strip_prefix(':') {
            Some(port) => Ok((host, port)),
            None => Err("other text than :port follows the ] of its host"),
        },
        None => Err("the [ of its host has no ]"),
    }
}

/// Percent-decodes. A % without two hexadecimal digits is an error, as in libpq: it shows that the % of a password was not
/// encoded.
fn decoded(text: &str) -> Result<Vec<u8>, &'static str> {
    let is_code = |code: &str| code.bytes().take_while(u8::is_ascii_hexdigit).take(2).count() == 2;
    if !text.split('%').skip(1).all(is_code) {
        return Err("it contains a % that is not followed by two hexadecimal digits");
    }
    let bytes: Vec<u8> = percent_decode(text.as_bytes()).collect();
    if bytes.contains(&0) { Err("it contains a zero byte") } else { Ok(bytes) }
}

fn is_blank(c: char) -> bool {
    c.is_ascii_whitespace() || c == '\x0b'
}

fn keywords(text: &str) -> Result<Settings, &'static str> {
    let mut settings = Settings::new();
    let mut rest = text.trim_start_matches(is_blank);
    while !rest.is_empty() {
        let end = rest.find(|c| c == '=' || is_blank(c)).unwrap_or(rest.len());
        let name = &rest[..end];
        let Some(after) = rest[end..].trim_start_matches(is_blank).strip_prefix('=') else {
            return Err("it is not a list of name=value; a value with blanks needs quotes: '...'");
        };
        let value = after.trim_start_matches(is_blank);
        let (value, left) = match value.strip_prefix('\'') {
            Some(quoted) => quoted_value(quoted)?,
            None => plain_value(value, value.len() == after.len() && ["password", "options"].contains(&name))?,
        };
        settings.push((name.to_owned(), value.into_bytes()));
        rest = left.trim_start_matches(is_blank);
    }
    Ok(settings)
}

/// Up to the closing quote.
fn quoted_value(text: &str) -> Result<(String, &str), &'static str> {
    let mut value = String::new();
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match character {
            '\'' => return Ok((value, characters.as_str())),
            '\\' => value.extend(characters.next()),
            other => value.push(other),
        }
    }
    Err("a quoted value has no closing '")
}

/// Up to the next blank. If a blank or a value is missing, the next option becomes the value or a part of it, and a password
/// becomes a user: `user= password=...`, `user=apppassword=...`. So only values that may contain a `=` are accepted with one.
fn plain_value(text: &str, equals: bool) -> Result<(String, &str), &'static str> {
    let mut value = String::new();
    let mut characters = text.chars();
    let mut left = text;
    while let Some(character) = characters.next().filter(|character| !is_blank(*character)) {
        match character {
            '\\' => value.extend(characters.next()),
            '=' if !equals => return Err("a value without quotes contains a =; an empty value is written ''"),
            other => value.push(other),
        }
        left = characters.as_str();
    }
    Ok((value, left))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The result of libpq's `PQconninfoParse` for the same text, without empty options.
    #[test]
    fn a_right_text_means_what_it_means_to_libpq() {
        for (text, meaning) in [
            ("postgres://app:pw@h/d", "user=app password=pw host=h dbname=d"),
            ("postgresql://app@h:5432,h2/d?host=/tmp", "user=app host=h,h2 port=5432, dbname=d host=/tmp"),
            ("postgres://a:b?c#d:e@[::1]:5432,h2/d", "user=a password=b?c#d:e host=::1,h2 port=5432, dbname=d"),
            ("postgres://app:%40%2f%25@%2Fvar%2Frun/a%20b", "user=app password=@/% host=/var/run dbname=a b"),
            ("postgres:///d?user=app&password=p@s/s?", "dbname=d user=app password=p@s/s?"),
            ("postgres://h?user=app&ssl=true&", "host=h user=app sslmode=require"),
            ("host=h user = app  password='a b\\'c\\\\'dbname=d", "host=h user=app password=a b'c\\ dbname=d"),
            ("user=a\\ b password=p'w=1\tdbname= d", "user=a b password=p'w=1 dbname=d"),
        ] {
            let shown: Vec<String> = read(text)
                .unwrap()
                .into_iter()
                .filter(|(_, value)| !value.is_empty())
                .map(|(name, value)| format!("{name}={}", String::from_utf8(value).unwrap()))
                .collect();
            assert_eq!(shown.join(" "), meaning, "{text}");
        }
    }

    #[test]
    fn what_a_piece_of_a_password_has_got_into_is_refused() {
        for text in [
            "postgres://app:p@ss/w@h/d",
            "postgres://app:p@ss@h/d",
            "postgres://app:p@ss?w@h/d",
            "postgres://app:1%zz@h/d",
            "postgres://app:p%00@h/d",
            "postgres://app:p@[::1/d",
            "postgres://app:p@[::1]x/d",
            "postgres://app:p@h/d&password=x",
            "postgres://app:p@h/d?a&b=c",
            "mysql://app:p@h/d",
            "host=h user= password=x",
            "host=h user=apppassword=x",
            "host=h password='x",
            "host=h password=x y",
        ] {
            assert!(read(text).is_err(), "{text}");
        }
    }
}
