//! Templates of catalogs: what is kept of one, and how it is filled in with the attributes of a user.
//!
//! A value of an attribute takes the place of `{name}` in the value of one option and nothing else: options cannot come from
//! it, and unless the template allows more it holds no character by which a URL or a list would go on to something else.

use std::collections::{BTreeMap, BTreeSet};

use maru_core::{Error, ErrorKind, Result, Secret, did_you_mean, quote_ident};
use serde::{Deserialize, Serialize};

use super::rules::Rules;

/// The attribute that everyone has: their name.
pub const USER_ATTRIBUTE: &str = "user";

/// Characters of a value at most.
const VALUE_CHARS_MAX: usize = 255;

/// A catalog that each member of a role finds, made of their own attributes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    pub role: String,
    pub connector: String,
    /// Options as written, `{attribute}` in their values.
    pub options: BTreeMap<String, Secret>,
    /// By attribute, the patterns of values that it may have, parted by `|`.
    pub allow: BTreeMap<String, String>,
    pub comment: Option<String>,
}

/// The stored form beside the options, which are sealed.
#[derive(Serialize, Deserialize)]
pub(super) struct StoredTemplate {
    role: String,
    connector: String,
    allow: BTreeMap<String, String>,
    comment: Option<String>,
}

/// A part of a text with placeholders.
#[derive(Debug, PartialEq, Eq)]
enum Piece<'a> {
    Text(&'a str),
    Attribute(&'a str),
}

impl Template {
    pub(super) fn stored(&self) -> Result<(StoredTemplate, Secret)> {
        let plain = self.options.iter().map(|(name, value)| (name.as_str(), value.reveal()));
        let options =
            serde_json::to_string(&plain.collect::<BTreeMap<_, _>>()).map_err(|cause| {
                Error::new(ErrorKind::Internal, "could not encode a template").with_cause(cause)
            })?;
        let body = StoredTemplate {
            role: self.role.clone(),
            connector: self.connector.clone(),
            allow: self.allow.clone(),
            comment: self.comment.clone(),
        };
        Ok((body, Secret::new(options)))
    }

    /// Returns `None` if the options cannot be read.
    pub(super) fn from_stored(stored: StoredTemplate, options: &Secret) -> Option<Self> {
        let options: BTreeMap<String, String> = serde_json::from_str(options.reveal()).ok()?;
        Some(Self {
            role: stored.role,
            connector: stored.connector,
            options: options.into_iter().map(|(name, value)| (name, Secret::new(value))).collect(),
            allow: stored.allow,
            comment: stored.comment,
        })
    }

    /// Returns the attributes that an option's value holds.
    ///
    /// # Errors
    /// 22023 for braces that hold no name.
    pub fn attributes_of(value: &str) -> Result<Vec<&str>> {
        let attributes = pieces(value)?.into_iter().filter_map(|piece| match piece {
            Piece::Attribute(name) => Some(name),
            Piece::Text(_) => None,
        });
        Ok(attributes.collect())
    }

    /// Returns an option's value with every attribute replaced by the same text.
    ///
    /// # Errors
    /// 22023 for braces that hold no name.
    pub fn with_all(value: &str, text: &str) -> Result<String> {
        Ok(pieces(value)?
            .into_iter()
            .map(|piece| match piece {
                Piece::Text(text) => text,
                Piece::Attribute(_) => text,
            })
            .collect())
    }

    /// Returns the options of the catalog `name` for a user.
    ///
    /// # Errors
    /// 42704 for an attribute that the user has not, 22023 for a value that the template does not take.
    pub fn fill(&self, name: &str, rules: &Rules, user: &str) -> Result<BTreeMap<String, Secret>> {
        let value = |text: &Secret| -> Result<Secret> {
            let mut filled = String::new();
            for piece in pieces(text.reveal())? {
                match piece {
                    Piece::Text(text) => filled.push_str(text),
                    Piece::Attribute(attribute) => {
                        let value = rules.attribute(user, attribute)?;
                        self.check(name, user, attribute, value)?;
                        filled.push_str(value);
                    }
                }
            }
            Ok(Secret::new(filled))
        };
        self.options.iter().map(|(option, text)| Ok((option.clone(), value(text)?))).collect()
    }

    fn check(&self, name: &str, user: &str, attribute: &str, value: &str) -> Result<()> {
        let patterns = self.allow.get(attribute);
        let fits = !value.contains("..")
            && value.chars().count() <= VALUE_CHARS_MAX
            && match patterns {
                Some(patterns) => patterns.split('|').any(|pattern| is_like(value, pattern.trim())),
                None => is_plain(value),
            };
        if fits {
            return Ok(());
        }
        let detail = match patterns {
            Some(patterns) => format!("The template allows {patterns}."),
            None => "The template takes letters, digits, '.', '_' and '-'.".to_owned(),
        };
        Err(Error::new(
            ErrorKind::InvalidParameter,
            format!(
                "attribute \"{attribute}\" of user \"{user}\" cannot stand in catalog \"{name}\""
            ),
        )
        .with_detail(detail)
        .with_hint(format!(
            "A superuser gives another value, or makes the template with ALLOW ({} = 'pattern').",
            quote_ident(attribute)
        )))
    }
}

impl Rules {
    /// Returns the template by which a catalog of this name is there for a user.
    pub fn template_for(&self, user: &str, name: &str) -> Option<&Template> {
        self.templates.get(name).filter(|template| self.memberships(user).contains(&template.role))
    }

    /// Returns the value of an attribute: the user's own, or else that of the roles it is a member of.
    ///
    /// # Errors
    /// 42704 if neither has one; 22023 if the roles differ.
    pub fn attribute<'a>(&'a self, user: &'a str, name: &str) -> Result<&'a str> {
        if name == USER_ATTRIBUTE {
            return Ok(user);
        }
        let of = |role: &str| self.attributes.get(&(role.to_owned(), name.to_owned()));
        if let Some(value) = of(user) {
            return Ok(value);
        }
        let roles = self.memberships(user);
        let having = roles.iter().filter(|role| of(role).is_some()).collect::<Vec<_>>();
        let values = having.iter().filter_map(|role| of(role)).collect::<BTreeSet<_>>();
        match values.into_iter().collect::<Vec<_>>().as_slice() {
            [value] => Ok(value),
            [] => {
                let error = Error::new(
                    ErrorKind::UndefinedObject,
                    format!("attribute \"{name}\" of user \"{user}\" is not set"),
                );
                let known = self.attributes.keys().filter(|(role, _)| roles.contains(role));
                let near = did_you_mean(name, known.map(|(_, name)| name.as_str()));
                let near = near.map(|near| format!(" There is an attribute \"{near}\"."));
                Err(error.with_hint(format!(
                    "A superuser says: ALTER ROLE {} SET ATTRIBUTE {} = '…'.{}",
                    quote_ident(user),
                    quote_ident(name),
                    near.unwrap_or_default()
                )))
            }
            _ => Err(Error::new(
                ErrorKind::InvalidParameter,
                format!("attribute \"{name}\" of user \"{user}\" is not clear"),
            )
            .with_detail(format!(
                "Roles {} have different values.",
                having.iter().map(|role| role.as_str()).collect::<Vec<_>>().join(", ")
            ))
            .with_hint("Set it for the user.")),
        }
    }

    /// Sets an attribute, or with `None` takes it away. Returns whether there was one.
    pub fn set_attribute(&mut self, role: &str, name: &str, value: Option<&str>) -> bool {
        let key = (role.to_owned(), name.to_owned());
        match value {
            Some(value) => self.attributes.insert(key, value.to_owned()).is_some(),
            None => self.attributes.remove(&key).is_some(),
        }
    }
}

/// Cuts a text at its placeholders; `{{` and `}}` stand for braces.
fn pieces(text: &str) -> Result<Vec<Piece<'_>>> {
    let broken = || {
        Error::new(ErrorKind::InvalidParameter, "a template's option has braces without a name")
            .with_hint(
                "{attribute} stands for an attribute of the user; a brace itself is written twice.",
            )
    };
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find(['{', '}']) {
        let (before, from) = rest.split_at(at);
        pieces.push(Piece::Text(before));
        if from.starts_with("{{") || from.starts_with("}}") {
            pieces.push(Piece::Text(&from[..1]));
            rest = &from[2..];
            continue;
        }
        let inside = from.strip_prefix('{').ok_or_else(broken)?;
        let (name, after) = inside.split_once('}').ok_or_else(broken)?;
        let is_name = name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
            && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
        if !is_name {
            return Err(broken());
        }
        pieces.push(Piece::Attribute(name));
        rest = after;
    }
    pieces.push(Piece::Text(rest));
    pieces.retain(|piece| *piece != Piece::Text(""));
    Ok(pieces)
}

/// Returns whether a text cannot end a host, a directory or an element of a list, nor lead out of them.
fn is_plain(text: &str) -> bool {
    !text.is_empty()
        && !text.starts_with(['.', '-'])
        && !text.ends_with('.')
        && text.chars().all(is_plain_char)
}

fn is_plain_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-')
}

/// Compares with a pattern in which `*` stands for plain characters; what else may be there the pattern says itself.
fn is_like(text: &str, pattern: &str) -> bool {
    match pattern.split_once('*') {
        None => !text.is_empty() && text == pattern,
        Some((before, after)) => text.strip_prefix(before).is_some_and(|rest| {
            let n_plain = rest.chars().take_while(|c| is_plain_char(*c)).count();
            // Plain characters are one byte long each.
            (0..=n_plain).any(|n| match after {
                "" => n == rest.len() && !text.is_empty(),
                _ => is_like(&rest[n..], after),
            })
        }),
    }
}

#[cfg(test)]
mod tests;
