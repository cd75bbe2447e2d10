//! What the script's own `handleSummary()` returned.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde::{Deserialize, Serialize};

use crate::secrets::Secrets;

/// What came of calling `handleSummary()`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Handled {
    /// There is none, or it returned nothing: k6 shows its own summary then.
    Nothing,
    /// It returned these, in this order; k6 shows no summary of its own then.
    Returned(Vec<Returned>),
    /// It threw, took too long, returned something else or could not be called; in words, with the script's stack.
    Failed(String),
}

/// One thing that it returned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Returned {
    /// The name of a file, or `stdout` or `stderr`.
    pub name: String,
    /// What is in it.
    pub content: Vec<u8>,
}

/// The document that a k6 prints and a store keeps, names and contents in Base64.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Document {
    Nothing,
    Returned(Vec<(String, String)>),
    Failed(String),
}

impl Handled {
    /// Reads the document; none if it is something else.
    pub fn read(json: &[u8]) -> Option<Self> {
        let decoded = |(name, content): (String, String)| {
            let (name, content) = (BASE64_STANDARD.decode(name).ok()?, BASE64_STANDARD.decode(content).ok()?);
            Some(Returned { name: String::from_utf8(name).ok()?, content })
        };
        Some(match serde_json::from_slice(json).ok()? {
            Document::Nothing => Self::Nothing,
            Document::Returned(all) => Self::Returned(all.into_iter().map(decoded).collect::<Option<_>>()?),
            Document::Failed(words) => Self::Failed(words),
        })
    }

    /// The same without these secrets; what is no text stays as it is.
    #[must_use]
    pub fn redacted(self, secrets: &Secrets) -> Self {
        let text = |text: &str| secrets.redact(text).into_owned();
        let content = |bytes: Vec<u8>| match String::from_utf8(bytes) {
            Ok(content) => text(&content).into_bytes(),
            Err(binary) => binary.into_bytes(),
        };
        match self {
            Self::Nothing => Self::Nothing,
            Self::Returned(all) => Self::Returned(
                all.into_iter().map(|r| Returned { name: text(&r.name), content: content(r.content) }).collect(),
            ),
            Self::Failed(words) => Self::Failed(text(&words)),
        }
    }

    /// The document.
    pub fn to_json(&self) -> Vec<u8> {
        let encoded = |r: &Returned| (BASE64_STANDARD.encode(&r.name), BASE64_STANDARD.encode(&r.content));
        let document = match self {
            Self::Nothing => Document::Nothing,
            Self::Returned(all) => Document::Returned(all.iter().map(encoded).collect()),
            Self::Failed(words) => Document::Failed(words.clone()),
        };
        serde_json::to_vec(&document).unwrap_or_default()
    }

    /// What is to be shown in place of k6's own summary: nothing, if the script returned files only. None where k6 shows
    /// its own, as it does when `handleSummary()` throws.
    pub fn text(&self) -> Option<&[u8]> {
        match self {
            Self::Nothing | Self::Failed(_) => None,
            Self::Returned(all) => Some(all.iter().find(|r| r.name == STDOUT).map_or(&[], |r| &r.content)),
        }
    }

    /// What the script wants said on standard error.
    pub fn talk(&self) -> Option<&[u8]> {
        self.returned().iter().find(|r| r.name == STDERR).map(|r| r.content.as_slice())
    }

    /// The files.
    pub fn files(&self) -> impl Iterator<Item = &Returned> {
        self.returned().iter().filter(|r| r.name != STDOUT && r.name != STDERR)
    }

    fn returned(&self) -> &[Returned] {
        match self {
            Self::Nothing | Self::Failed(_) => &[],
            Self::Returned(all) => all,
        }
    }
}

const STDOUT: &str = "stdout";
const STDERR: &str = "stderr";

#[cfg(test)]
mod tests {
    use super::*;

    fn returned(name: &str, content: &[u8]) -> Returned {
        Returned { name: name.to_owned(), content: content.to_vec() }
    }

    #[test]
    fn any_names_and_bytes_come_back() {
        let all = vec![returned("stdout", b""), returned("a/\u{1f6d2} \"b\".bin", &[0, 255, 13]), returned("", b"x")];
        for handled in [Handled::Nothing, Handled::Returned(all), Handled::Failed("Error: boom\n\tat x".to_owned())] {
            assert_eq!(Handled::read(&handled.to_json()), Some(handled));
        }
    }

    #[test]
    fn what_is_no_document_is_told_from_one() {
        for other in ["", "\n  TOTAL RESULTS", "{}", r#"{"returned":[["!","eA=="]]}"#, r#"{"returned":[["/w==",""]]}"#]
        {
            assert_eq!(Handled::read(other.as_bytes()), None, "{other}");
        }
    }

    #[test]
    fn text_stands_in_place_of_k6s_own() {
        let files_only = Handled::Returned(vec![returned("a", b"1")]);
        let all = Handled::Returned(vec![returned("stderr", b"e"), returned("a", b"1"), returned("stdout", b"o")]);
        assert_eq!((files_only.text(), files_only.talk(), files_only.files().count()), (Some(&b""[..]), None, 1));
        assert_eq!((all.text(), all.talk(), all.files().count()), (Some(&b"o"[..]), Some(&b"e"[..]), 1));
        assert_eq!((Handled::Nothing.text(), Handled::Failed("x".into()).text()), (None, None));
    }
}
