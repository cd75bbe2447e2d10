//! Floating-point numbers in JSON, infinities included.
//!
//! JSON has no infinity, but a script may put one into a trend or a threshold. It is written as the text `+Inf`, as k6
//! does, so that what was stored can be read back.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

/// A number, for JSON.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Number(pub f64);

impl Serialize for Number {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serialize(&self.0, serializer)
    }
}

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserialize(deserializer).map(Self)
    }
}

impl JsonSchema for Number {
    fn schema_name() -> Cow<'static, str> {
        "Number".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [{ "type": "number" }, { "enum": ["+Inf", "-Inf", "NaN"] }] })
    }
}

/// Writes a number, or the name of what is none.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's form")]
pub(crate) fn serialize<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    match *value {
        value if value.is_finite() => serializer.serialize_f64(value),
        value if value.is_nan() => serializer.serialize_str("NaN"),
        value if value > 0.0 => serializer.serialize_str("+Inf"),
        _ => serializer.serialize_str("-Inf"),
    }
}

/// Reads what [`serialize`] wrote.
pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Json {
        Number(f64),
        Text(String),
    }
    match Json::deserialize(deserializer)? {
        Json::Number(value) => Ok(value),
        Json::Text(text) => match text.as_str() {
            "+Inf" => Ok(f64::INFINITY),
            "-Inf" => Ok(f64::NEG_INFINITY),
            "NaN" => Ok(f64::NAN),
            _ => Err(D::Error::custom("expected a number, +Inf, -Inf or NaN")),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn infinities_come_back() {
        for (value, json) in [(1.5, "1.5"), (f64::INFINITY, "\"+Inf\""), (f64::NEG_INFINITY, "\"-Inf\"")] {
            assert_eq!(serde_json::to_string(&Number(value)).expect("writes"), json);
            assert_eq!(serde_json::from_str::<Number>(json).expect("reads"), Number(value));
        }
        assert!(serde_json::from_str::<Number>("\"NaN\"").expect("reads").0.is_nan());
        assert!(serde_json::from_str::<Number>("\"much\"").is_err());
    }
}
