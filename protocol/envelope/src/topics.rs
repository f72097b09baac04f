//! Topic names. Clouds dictate theirs, so each is a template; the defaults are the contract's.

use std::collections::BTreeMap;

use cardea_framing::LockId;

/// One topic of the contract, with what its name carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Topic {
    /// Gateway presence, retained, last will.
    State,
    /// What the gateway is, retained.
    Info,
    /// How the gateway is, retained.
    Health,
    /// Who is admitted, retained.
    Locks,
    /// Sealed frames up.
    Up(LockId),
    /// Sealed frames down.
    Down(LockId),
    /// What became of frames down.
    Result(LockId),
    /// The platform's cumulative word.
    Seen(LockId),
    /// Reachability, retained.
    Link(LockId),
    /// Gateway events.
    Event,
    /// Questions, by verb.
    Request(String),
    /// Answers, by verb.
    Response(String),
}

/// A topic template that cannot work; the configuration is at fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TopicError {
    /// No topic of that name.
    #[error("no topic is called `{0}`; known: {KNOWN}", KNOWN = DEFAULTS.map(|(n, _)| n).join(", "))]
    UnknownName(String),
    /// The template lacks a placeholder that tells its messages apart.
    #[error("the template of `{0}` needs {1}")]
    Placeholder(String, &'static str),
    /// Wildcards, empty, too long, or a NUL.
    #[error("the template of `{0}` is not a topic name: {1}")]
    NotATopic(String, &'static str),
    /// Prefix or gateway id with a character that topics or brokers' client ids do not carry.
    #[error("`{0}` may hold letters, digits, `-`, `_` and (in a prefix) `/` only")]
    Name(String),
}

const DEFAULTS: [(&str, &str); 12] = [
    ("state", "{prefix}/{gateway}/state"),
    ("info", "{prefix}/{gateway}/info"),
    ("health", "{prefix}/{gateway}/health"),
    ("locks", "{prefix}/{gateway}/locks"),
    ("up", "{prefix}/{gateway}/lock/{lock}/up"),
    ("down", "{prefix}/{gateway}/lock/{lock}/down"),
    ("result", "{prefix}/{gateway}/lock/{lock}/result"),
    ("seen", "{prefix}/{gateway}/lock/{lock}/seen"),
    ("link", "{prefix}/{gateway}/lock/{lock}/link"),
    ("event", "{prefix}/{gateway}/event"),
    ("request", "{prefix}/{gateway}/request/{verb}"),
    ("response", "{prefix}/{gateway}/response/{verb}"),
];

/// The default prefix.
pub const DEFAULT_PREFIX: &str = "cardea/v1";

/// Longest topic in bytes that every broker of the contract takes.
const MAX_TOPIC: usize = 128;

/// The topics of one gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topics {
    /// Templates with prefix and gateway filled in, in the order of [`DEFAULTS`].
    templates: [String; 12],
}

impl Topics {
    /// The contract's topics below `prefix` for `gateway`.
    ///
    /// # Errors
    /// [`TopicError::Name`].
    pub fn new(prefix: &str, gateway: &str) -> Result<Self, TopicError> {
        Self::with_templates(prefix, gateway, &BTreeMap::new())
    }

    /// As [`Self::new`], with some templates replaced: topic name (`up`, `down`, …) → template with
    /// `{prefix}`, `{gateway}`, `{lock}`, `{verb}`.
    ///
    /// # Errors
    /// Any [`TopicError`].
    pub fn with_templates(
        prefix: &str,
        gateway: &str,
        replaced: &BTreeMap<String, String>,
    ) -> Result<Self, TopicError> {
        let plain = |s: &str, more: &[u8]| {
            !s.is_empty()
                && s.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_' || more.contains(&b))
        };
        if !plain(prefix, b"/.") {
            return Err(TopicError::Name(prefix.into()));
        }
        if !plain(gateway, b"") {
            return Err(TopicError::Name(gateway.into()));
        }
        if let Some(name) = replaced.keys().find(|k| !DEFAULTS.iter().any(|(n, _)| n == k)) {
            return Err(TopicError::UnknownName(name.clone()));
        }
        let mut templates: [String; 12] = Default::default();
        for (slot, (name, default)) in templates.iter_mut().zip(DEFAULTS) {
            let template = replaced.get(name).map_or(default, String::as_str);
            check(name, default, template)?;
            *slot = template.replace("{prefix}", prefix).replace("{gateway}", gateway);
            if slot.len() > MAX_TOPIC {
                return Err(TopicError::NotATopic(name.into(), "longer than 128 bytes"));
            }
        }
        let same = |(i, t): (usize, &String)| templates.iter().take(i).any(|u| wildcards(t) == wildcards(u));
        if let Some(i) = templates.iter().enumerate().position(same) {
            let name = DEFAULTS.get(i).map_or("", |(name, _)| *name);
            return Err(TopicError::NotATopic(name.into(), "another has the same"));
        }
        Ok(Self { templates })
    }

    /// The topic's name.
    #[must_use]
    pub fn name(&self, topic: &Topic) -> String {
        let (index, lock, verb) = match topic {
            Topic::State => (0, None, None),
            Topic::Info => (1, None, None),
            Topic::Health => (2, None, None),
            Topic::Locks => (3, None, None),
            Topic::Up(l) => (4, Some(l), None),
            Topic::Down(l) => (5, Some(l), None),
            Topic::Result(l) => (6, Some(l), None),
            Topic::Seen(l) => (7, Some(l), None),
            Topic::Link(l) => (8, Some(l), None),
            Topic::Event => (9, None, None),
            Topic::Request(v) => (10, None, Some(v)),
            Topic::Response(v) => (11, None, Some(v)),
        };
        let mut name = self.templates.get(index).cloned().unwrap_or_default();
        if let Some(lock) = lock {
            name = name.replace("{lock}", &hex::encode(lock.0));
        }
        if let Some(verb) = verb {
            name = name.replace("{verb}", verb);
        }
        name
    }

    /// What a received topic name means; `None` is not ours.
    #[must_use]
    pub fn parse(&self, name: &str) -> Option<Topic> {
        self.templates.iter().enumerate().find_map(|(index, template)| {
            let hole = capture(template, name)?;
            let lock = || parse_lock(hole?);
            Some(match index {
                0 => Topic::State,
                1 => Topic::Info,
                2 => Topic::Health,
                3 => Topic::Locks,
                4 => Topic::Up(lock()?),
                5 => Topic::Down(lock()?),
                6 => Topic::Result(lock()?),
                7 => Topic::Seen(lock()?),
                8 => Topic::Link(lock()?),
                9 => Topic::Event,
                10 => Topic::Request(hole?.into()),
                _ => Topic::Response(hole?.into()),
            })
        })
    }

    /// What a gateway subscribes to: `down`, `seen`, `request`.
    #[must_use]
    pub fn gateway_filters(&self) -> Vec<String> {
        [5, 7, 10].into_iter().filter_map(|i| self.filter(i)).collect()
    }

    fn filter(&self, index: usize) -> Option<String> {
        self.templates.get(index).map(|template| wildcards(template))
    }
}

/// The topics of every gateway below a prefix, as a platform sees them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlatformTopics {
    prefix: String,
    replaced: BTreeMap<String, String>,
    /// Templates with the prefix filled in, in the order of [`DEFAULTS`].
    patterns: Vec<String>,
}

impl Default for PlatformTopics {
    /// The contract's topics below [`DEFAULT_PREFIX`].
    fn default() -> Self {
        let patterns = DEFAULTS.map(|(_, template)| template.replace("{prefix}", DEFAULT_PREFIX)).into();
        Self { prefix: DEFAULT_PREFIX.into(), replaced: BTreeMap::new(), patterns }
    }
}

impl PlatformTopics {
    /// Prefix and replaced templates as the gateways have them, see [`Topics::with_templates`].
    ///
    /// # Errors
    /// Any [`TopicError`]; also where a template does not name its gateway with a level `{gateway}`: the gateways'
    /// messages could not be told apart.
    pub fn new(prefix: &str, replaced: &BTreeMap<String, String>) -> Result<Self, TopicError> {
        Topics::with_templates(prefix, "g", replaced)?;
        let mut patterns = Vec::with_capacity(DEFAULTS.len());
        for (name, default) in DEFAULTS {
            let template = replaced.get(name).map_or(default, String::as_str);
            if template.split('/').filter(|level| *level == "{gateway}").count() != 1 {
                return Err(TopicError::Placeholder(name.into(), "the level `{gateway}` once"));
            }
            patterns.push(template.replace("{prefix}", prefix));
        }
        Ok(Self { prefix: prefix.into(), replaced: replaced.clone(), patterns })
    }

    /// The topics of one gateway.
    ///
    /// # Errors
    /// When the gateway cannot have that name, or a topic would be too long.
    pub fn of(&self, gateway: &str) -> Result<Topics, TopicError> {
        Topics::with_templates(&self.prefix, gateway, &self.replaced)
    }

    /// What to subscribe to: everything that gateways publish.
    #[must_use]
    pub fn filters(&self) -> Vec<String> {
        let published = [0, 1, 2, 3, 4, 6, 8, 9, 11].into_iter();
        published
            .filter_map(|i| self.patterns.get(i))
            .map(|p| wildcards(&p.replace("{gateway}", "+")))
            .collect()
    }

    /// The gateway that a topic names, if it is one of ours.
    #[must_use]
    pub fn gateway<'t>(&self, topic: &'t str) -> Option<&'t str> {
        self.patterns.iter().find_map(|pattern| {
            let mut gateway = None;
            let (mut levels, mut given) = (pattern.split('/'), topic.split('/'));
            loop {
                match (levels.next(), given.next()) {
                    (None, None) => return gateway,
                    (Some("{gateway}"), Some(name)) => gateway = Some(name),
                    (Some("{lock}" | "{verb}"), Some(_)) => {}
                    (Some(level), Some(name)) if level == name => {}
                    _ => return None,
                }
            }
        })
    }
}

fn wildcards(template: &str) -> String {
    template.replace("{lock}", "+").replace("{verb}", "+")
}

/// The text that stands for the template's one hole (`Some(None)` where it has none), if the name fits.
fn capture<'n>(template: &str, name: &'n str) -> Option<Option<&'n str>> {
    let hole = ["{lock}", "{verb}"].into_iter().find_map(|h| template.split_once(h));
    match hole {
        None => (template == name).then_some(None),
        Some((before, after)) => {
            let middle = name.strip_prefix(before)?.strip_suffix(after)?;
            (!middle.is_empty() && !middle.contains('/')).then_some(Some(middle))
        }
    }
}

fn parse_lock(text: &str) -> Option<LockId> {
    let mut id = [0; 8];
    if text.bytes().any(|b| b.is_ascii_uppercase()) {
        return None;
    }
    hex::decode_to_slice(text, &mut id).ok()?;
    Some(LockId(id))
}

/// A template must carry the holes of its default, as whole levels, and be a topic name otherwise.
fn check(name: &str, default: &str, template: &str) -> Result<(), TopicError> {
    let bad = |why| Err(TopicError::NotATopic(name.into(), why));
    if template.is_empty() || template.contains(['+', '#', '\0']) {
        return bad("empty, or with a wildcard");
    }
    for hole in ["{lock}", "{verb}"] {
        let wanted = usize::from(default.contains(hole));
        if template.split('/').filter(|level| *level == hole).count() != wanted {
            let what = if wanted == 0 {
                "no per-lock or per-verb level"
            } else {
                "its level `{lock}` or `{verb}` once"
            };
            return Err(TopicError::Placeholder(name.into(), what));
        }
    }
    let rest = ["{lock}", "{verb}", "{prefix}", "{gateway}"]
        .iter()
        .fold(template.to_owned(), |t, h| t.replace(h, ""));
    if rest.contains(['{', '}']) {
        return bad("unknown placeholder");
    }
    Ok(())
}
