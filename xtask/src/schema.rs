//! The part of JSON Schema that describes test vectors.
//!
//! A keyword outside this part is refused rather than passed over, so a schema
//! never promises more than is checked.

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Map, Value};

/// Keywords that carry no condition.
const ANNOTATIONS: [&str; 6] = ["$schema", "$id", "$defs", "$comment", "title", "description"];

/// A parsed schema.
pub struct Schema(Value);

impl Schema {
    /// Reads a schema.
    ///
    /// # Errors
    /// When the text is not a JSON object.
    pub fn parse(text: &str) -> Result<Self> {
        let schema: Value = serde_json::from_str(text)?;
        ensure!(schema.is_object(), "a schema is an object");
        Ok(Self(schema))
    }

    /// Checks a value.
    ///
    /// # Errors
    /// At the first condition it fails, naming the place in the value.
    pub fn check(&self, value: &Value) -> Result<()> {
        self.node(&self.0, value, "$")
    }

    fn node(&self, schema: &Value, value: &Value, at: &str) -> Result<()> {
        let schema = match schema {
            Value::Bool(true) => return Ok(()),
            Value::Object(schema) => schema,
            _ => bail!("{at}: nothing is allowed here"),
        };
        for (keyword, operand) in schema {
            if !ANNOTATIONS.contains(&keyword.as_str()) {
                self.keyword(schema, keyword, operand, value, at)?;
            }
        }
        Ok(())
    }

    fn keyword(
        &self,
        schema: &Map<String, Value>,
        keyword: &str,
        operand: &Value,
        value: &Value,
        at: &str,
    ) -> Result<()> {
        match keyword {
            "$ref" => self.node(self.definition(operand)?, value, at),
            "type" => check_type(operand, value, at),
            "const" => {
                ensure!(value == operand, "{at}: is not {operand}");
                Ok(())
            }
            "enum" => {
                let allowed = operand.as_array().is_some_and(|list| list.contains(value));
                ensure!(allowed, "{at}: is none of {operand}");
                Ok(())
            }
            "required" | "properties" | "additionalProperties" => {
                self.object(schema, keyword, operand, value, at)
            }
            "items" => {
                for (index, item) in value.as_array().into_iter().flatten().enumerate() {
                    self.node(operand, item, &format!("{at}[{index}]"))?;
                }
                Ok(())
            }
            "anyOf" | "oneOf" => {
                let choices = operand.as_array().context("anyOf and oneOf are lists")?;
                let fitting =
                    choices.iter().filter(|choice| self.node(choice, value, at).is_ok()).count();
                let enough = fitting == 1 || keyword == "anyOf" && fitting > 1;
                ensure!(enough, "{at}: {fitting} of {keyword} fit");
                Ok(())
            }
            _ => check_bound(keyword, operand, value, at),
        }
    }

    fn object(
        &self,
        schema: &Map<String, Value>,
        keyword: &str,
        operand: &Value,
        value: &Value,
        at: &str,
    ) -> Result<()> {
        let Some(fields) = value.as_object() else {
            return Ok(());
        };
        if keyword == "required" {
            for name in operand.as_array().into_iter().flatten() {
                let name = name.as_str().context("required lists names")?;
                ensure!(fields.contains_key(name), "{at}: lacks {name}");
            }
            return Ok(());
        }
        for (name, field) in fields {
            let place = format!("{at}.{name}");
            let known = schema.get("properties").and_then(|known| known.get(name));
            match (keyword, known) {
                ("properties", Some(known)) => self.node(known, field, &place)?,
                ("additionalProperties", None) => self.node(operand, field, &place)?,
                _ => {}
            }
        }
        Ok(())
    }

    fn definition(&self, reference: &Value) -> Result<&Value> {
        reference
            .as_str()
            .and_then(|reference| reference.strip_prefix("#/$defs/"))
            .and_then(|name| self.0.get("$defs")?.get(name))
            .with_context(|| format!("{reference} names no definition"))
    }
}

fn check_type(operand: &Value, value: &Value, at: &str) -> Result<()> {
    let names: Vec<&str> = match operand {
        Value::Array(names) => names.iter().filter_map(Value::as_str).collect(),
        name => name.as_str().into_iter().collect(),
    };
    let fits = names.iter().any(|name| match *name {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        _ => false,
    });
    ensure!(fits, "{at}: is not of type {operand}");
    Ok(())
}

fn check_bound(keyword: &str, operand: &Value, value: &Value, at: &str) -> Result<()> {
    if keyword == "pattern" {
        let pattern = operand.as_str().context("a pattern is a string")?;
        let pattern = regex_lite::Regex::new(pattern)?;
        let fits = value.as_str().is_none_or(|text| pattern.is_match(text));
        ensure!(fits, "{at}: does not match {operand}");
        return Ok(());
    }
    let measure = match keyword {
        "minItems" | "maxItems" => value.as_array().map(|list| list.len() as f64),
        "minLength" | "maxLength" => value.as_str().map(|text| text.chars().count() as f64),
        "minimum" | "maximum" => value.as_f64(),
        _ => bail!("{at}: the keyword {keyword} is not supported"),
    };
    let bound = operand.as_f64().context("a bound is a number")?;
    let fits = measure.is_none_or(|measure| {
        if keyword.starts_with("min") { measure >= bound } else { measure <= bound }
    });
    ensure!(fits, "{at}: breaks {keyword} {operand}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCHEMA: &str = r##"{
        "type": "object",
        "required": ["name"],
        "additionalProperties": false,
        "properties": {
            "name": {"type": "string", "pattern": "^[0-9a-f]*$"},
            "sizes": {"type": "array", "minItems": 1, "items": {"$ref": "#/$defs/size"}},
            "kind": {"enum": ["a", "b"]},
            "either": {"anyOf": [{"type": "null"}, {"type": "boolean"}]}
        },
        "$defs": {"size": {"type": "integer", "minimum": 0, "maximum": 9}}
    }"##;

    fn check(value: &str, expected: &str) {
        let schema = Schema::parse(SCHEMA).unwrap();
        let found = match schema.check(&serde_json::from_str(value).unwrap()) {
            Ok(()) => String::new(),
            Err(error) => error.to_string(),
        };
        assert_eq!(found, expected, "{value}");
    }

    #[test]
    fn fitting_values_pass() {
        check(r#"{"name": "00ff"}"#, "");
        check(r#"{"name": "", "sizes": [0, 9], "kind": "b", "either": null}"#, "");
    }

    #[test]
    fn others_are_refused_with_their_place() {
        check("[]", "$: is not of type \"object\"");
        check("{}", "$: lacks name");
        check(r#"{"name": "x"}"#, "$.name: does not match \"^[0-9a-f]*$\"");
        check(r#"{"name": "", "sizes": []}"#, "$.sizes: breaks minItems 1");
        check(r#"{"name": "", "sizes": [1, 10]}"#, "$.sizes[1]: breaks maximum 9");
        check(r#"{"name": "", "kind": "c"}"#, "$.kind: is none of [\"a\",\"b\"]");
        check(r#"{"name": "", "either": 1}"#, "$.either: 0 of anyOf fit");
        check(r#"{"name": "", "other": 1}"#, "$.other: nothing is allowed here");
    }

    #[test]
    fn an_unknown_keyword_is_refused() {
        let schema = Schema::parse(r#"{"uniqueItems": true}"#).unwrap();
        let message = schema.check(&Value::Null).unwrap_err().to_string();
        assert!(message.contains("uniqueItems is not supported"), "{message}");
    }
}
