//! TURN: the flags of all three commands that have to do with it, and `enishi turn-credentials`.

use std::net::{SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::time::Duration;

use enishi_core::turn::{Credentials, Issuer, Secret, TurnServer, TurnUri};

use crate::args;
use crate::config;
use crate::failure::Failure;
use crate::runtime;

/// The longest time for which credentials are made: what leaks should be worthless soon.
const TTL_MAX: u64 = 30 * 86_400;

/// `enishi turn-credentials`.
#[derive(Debug, clap::Args)]
pub struct CredentialsArgs {
    /// File with the secret that the TURN server knows too (or set ENISHI_TURN_SECRET)
    #[arg(long, value_name = "FILE", env = "ENISHI_TURN_SECRET_FILE")]
    pub secret_file: Option<PathBuf>,

    /// The secret itself. Everybody on this machine can see it while the program runs: prefer --secret-file
    #[arg(long, value_name = "SECRET", conflicts_with = "secret_file")]
    pub secret: Option<String>,

    /// For whom; the TURN server sees it in its log
    #[arg(long, value_name = "USER")]
    pub user: String,

    /// For how many seconds they hold
    #[arg(long, value_name = "SECONDS", default_value_t = 86_400, value_parser = ttl)]
    pub ttl: u64,

    /// Until when they hold, in seconds of Unix time, instead of --ttl
    #[arg(long, value_name = "UNIX", conflicts_with = "ttl")]
    pub expires: Option<u64>,

    /// URI of the TURN server to print beside them; may be repeated
    #[arg(long, value_name = "URI", value_delimiter = ',', value_parser = uri)]
    pub uris: Vec<String>,
}

/// What `enishi signal` has to know to mint credentials.
#[derive(Debug, clap::Args)]
pub struct IssuerArgs {
    /// File with the secret of your TURN server, to give clients credentials for it (or set ENISHI_TURN_SECRET)
    #[arg(long, value_name = "FILE", env = "ENISHI_TURN_SECRET_FILE")]
    pub turn_secret_file: Option<PathBuf>,

    /// URI of that server, such as turn:turn.example:3478; may be repeated
    #[arg(long, value_name = "URI", env = "ENISHI_TURN_URI", value_delimiter = ',', value_parser = uri)]
    pub turn_uri: Vec<String>,

    /// For how many seconds such credentials hold
    #[arg(long, value_name = "SECONDS", env = "ENISHI_TURN_TTL", default_value_t = 600, value_parser = ttl)]
    pub turn_ttl: u64,
}

/// How `enishi peer` finds paths.
#[derive(Debug, clap::Args)]
pub struct PathArgs {
    /// TURN server to relay through, turn:HOST:PORT; may be repeated [default: those of the signaling server]
    #[arg(long, value_name = "URI", env = "ENISHI_TURN", value_delimiter = ',', value_parser = udp_uri)]
    pub turn: Vec<TurnUri>,

    /// User name for --turn
    #[arg(long, value_name = "USER", env = "ENISHI_TURN_USER", requires = "turn")]
    pub turn_user: Option<String>,

    /// File with the password for --turn (or set ENISHI_TURN_PASSWORD)
    #[arg(long, value_name = "FILE", env = "ENISHI_TURN_PASSWORD_FILE", requires = "turn")]
    pub turn_password_file: Option<PathBuf>,

    /// The password itself. Everybody on this machine can see it while the program runs: prefer --turn-password-file
    #[arg(long, value_name = "PASSWORD", hide_short_help = true, requires = "turn")]
    #[arg(conflicts_with = "turn_password_file")]
    pub turn_password: Option<String>,

    /// Which paths to the other peer may be used (RFC 8828)
    #[arg(long, value_name = "POLICY", value_enum, default_value_t = IcePolicy::All, env = "ENISHI_ICE_POLICY")]
    pub ice_policy: IcePolicy,
}

/// Which of this machine's addresses a remote peer may learn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum IcePolicy {
    /// Of all interfaces
    All,
    /// Only of the interface that the default route goes through
    DefaultRoute,
    /// None: only addresses on TURN servers
    Relay,
}

/// Prints credentials as the article's server does (`protocols.md` 002.4).
///
/// # Errors
/// There is no secret, or it cannot be read.
pub fn run(args: &CredentialsArgs) -> Result<u8, Failure> {
    let secret = match &args.secret {
        Some(secret) => Some(secret.clone()),
        None => secret(args.secret_file.as_deref(), "ENISHI_TURN_SECRET", "TURN secret")?,
    };
    let Some(secret) = secret.filter(|secret| !secret.is_empty()) else {
        let how = "give the secret that the TURN server knows with --secret-file FILE or in ENISHI_TURN_SECRET";
        return Err(Failure::Usage(how.into()));
    };
    let now = runtime::unix_time().as_secs();
    let expires = args.expires.unwrap_or(now.saturating_add(args.ttl));
    let minted = Secret::new(secret).mint(&args.user, expires);
    args::print(format!("{}\n", minted.to_rest_json(expires.saturating_sub(now), &args.uris)).as_bytes())
}

/// What mints credentials for the clients of a server, if the flags ask for that.
///
/// # Errors
/// Half of it is missing; or somebody could use the TURN server whom nobody knows: `public` says whether a listener is
/// reachable from elsewhere, `has_token` whether clients have to say who they are.
pub fn issuer(args: &IssuerArgs, public: bool, has_token: bool) -> Result<Option<Issuer>, Failure> {
    let usage = |why: &str| Err(Failure::Usage(why.into()));
    if args.turn_uri.is_empty() {
        return match &args.turn_secret_file {
            Some(_) => usage("--turn-secret-file needs --turn-uri URI, the TURN server that knows the secret"),
            None => Ok(None),
        };
    }
    let Some(secret) = secret(args.turn_secret_file.as_deref(), "ENISHI_TURN_SECRET", "TURN secret")? else {
        return usage("--turn-uri needs --turn-secret-file FILE, the secret that the TURN server knows");
    };
    if public && !has_token {
        return usage(
            "TURN credentials for whoever can reach a public address would make an open relay of your TURN server: \
             set a token with --token-file, or listen on loopback only",
        );
    }
    let ttl = Duration::from_secs(args.turn_ttl);
    Ok(Some(Issuer { secret: Secret::new(secret), uris: args.turn_uri.clone(), ttl }))
}

/// The TURN servers of a peer's flags, and what is worth a warning.
///
/// # Errors
/// Credentials are missing or cannot be read.
pub fn servers(args: &PathArgs) -> Result<(Vec<TurnServer>, Vec<String>), Failure> {
    if args.turn.is_empty() {
        return Ok((Vec::new(), Vec::new()));
    }
    let password = match &args.turn_password {
        Some(password) => Some(password.clone()),
        None => secret(args.turn_password_file.as_deref(), "ENISHI_TURN_PASSWORD", "TURN password")?,
    };
    let (Some(username), Some(password)) = (args.turn_user.clone(), password) else {
        let how =
            "--turn needs --turn-user USER, and the password in --turn-password-file FILE or ENISHI_TURN_PASSWORD";
        return Err(Failure::Usage(how.into()));
    };
    let credentials = Credentials { username, password };
    let named: Vec<_> = args.turn.iter().map(|uri| (uri.clone(), credentials.clone())).collect();
    Ok(look_up(&named))
}

/// Looks TURN servers up; for each that cannot be found there is a warning. May take as long as the system's resolver.
pub fn look_up(named: &[(TurnUri, Credentials)]) -> (Vec<TurnServer>, Vec<String>) {
    let (mut servers, mut warnings) = (Vec::new(), Vec::new());
    for (uri, credentials) in named {
        match (uri.host.as_str(), uri.port).to_socket_addrs() {
            Ok(addresses) => {
                let addresses: Vec<SocketAddr> = addresses.collect();
                // One of each family is the same server.
                let v4 = addresses.iter().find(|address| address.is_ipv4());
                let v6 = addresses.iter().find(|address| address.is_ipv6());
                let both = v4.into_iter().chain(v6);
                servers.extend(both.map(|&address| TurnServer { address, credentials: credentials.clone() }));
            }
            Err(why) => warnings.push(format!("going on without the TURN server {uri}: {why}")),
        }
    }
    (servers, warnings)
}

/// Whether one of the servers is on this machine.
pub fn is_local(args: &PathArgs) -> bool {
    args.turn.iter().any(|uri| {
        uri.host == "localhost" || uri.host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
    })
}

/// Reads a secret from a file, else from an environment variable.
fn secret(file: Option<&Path>, variable: &str, what: &str) -> Result<Option<String>, Failure> {
    let (text, place) = match file {
        Some(path) => {
            let shown = path.display();
            let text = config::read(path)
                .map_err(|why| Failure::Usage(format!("cannot read the file of the {what} {shown}: {why}")))?;
            (text, shown.to_string())
        }
        None => match std::env::var(variable) {
            Ok(text) => (text, variable.to_owned()),
            Err(std::env::VarError::NotPresent) => return Ok(None),
            Err(_) => return Err(Failure::Usage(format!("{variable} is not UTF-8"))),
        },
    };
    let secret = text.trim();
    if secret.is_empty() || secret.len() > 1024 || secret.contains(char::is_control) {
        return Err(Failure::Usage(format!("{place} holds no {what}: it should be one line of 1 to 1024 characters")));
    }
    Ok(Some(secret.to_owned()))
}

fn uri(text: &str) -> Result<String, String> {
    text.parse::<TurnUri>().map(|_| text.to_owned()).map_err(|error| error.to_string())
}

fn udp_uri(text: &str) -> Result<TurnUri, String> {
    let uri: TurnUri = text.parse().map_err(|error: enishi_core::turn::TurnUriError| error.to_string())?;
    if uri.plain_udp {
        Ok(uri)
    } else {
        Err(format!("the way to a TURN server over TCP or TLS is not supported; try turn:{uri}?transport=udp"))
    }
}

fn ttl(text: &str) -> Result<u64, String> {
    let seconds = text.parse().ok().filter(|seconds| (1..=TTL_MAX).contains(seconds));
    seconds.ok_or_else(|| format!("seconds from 1 to {TTL_MAX}, such as 600"))
}
