//! Deliberate bugs are in no build but the one that is for them.

use super::Package;

/// The feature that they are built with.
const FEATURE: &str = "mutants";

/// Crates that have the deliberate bugs turned on, by another feature or in a dependency.
pub fn check(packages: &[Package]) -> Vec<String> {
    let mut offences = Vec::new();
    for package in packages {
        let name = &package.name;
        for (feature, turned_on) in package.features.iter().filter(|(it, _)| *it != FEATURE) {
            if turned_on.iter().any(|it| is_for_mutants(it)) {
                offences.push(format!("{name}: feature `{feature}` turns `{FEATURE}` on"));
            }
        }
        for dependency in &package.dependencies {
            if dependency.features.iter().any(|it| is_for_mutants(it)) {
                offences.push(format!("{name}: turns `{FEATURE}` of {} on", dependency.name));
            }
        }
    }
    offences
}

/// Whether a feature is that of the deliberate bugs, here or in a dependency.
fn is_for_mutants(feature: &str) -> bool {
    feature.rsplit('/').next() == Some(FEATURE)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_features(features: &str, of_dependency: &str, expected: &[&str]) {
        let package = format!(
            r#"{{"name":"tidings-a","manifest_path":"Cargo.toml","features":{features},
            "dependencies":[{{"name":"tidings-b","kind":"dev","uses_default_features":true,
            "features":{of_dependency}}}]}}"#
        );
        assert_eq!(check(&[serde_json::from_str(&package).unwrap()]), expected);
    }

    #[test]
    fn only_the_feature_itself_turns_mutants_on() {
        check_features(r#"{"mutants":["tidings-b/mutants"],"default":["x"]}"#, r#"["x"]"#, &[]);
        let turned_on = ["tidings-a: feature `default` turns `mutants` on"];
        check_features(r#"{"mutants":[],"default":["mutants"]}"#, "[]", &turned_on);
        check_features(r#"{"default":["tidings-b/mutants"]}"#, "[]", &turned_on);
        check_features(r#"{"default":["tidings-b?/mutants"]}"#, "[]", &turned_on);
        let of_dependency = ["tidings-a: turns `mutants` of tidings-b on"];
        check_features("{}", r#"["mutants"]"#, &of_dependency);
    }
}
