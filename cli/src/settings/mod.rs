//! What flags, environment and file come to: flags over environment over `lambdaload.toml` over defaults.
//!
//! Commands see these settings and nothing of where they came from. Where one is an `Option`, none is a choice of its
//! own, which its description names.

mod env_file;
pub(crate) mod environment;
mod file;
mod pairs;
mod place;
mod platform;
mod repeat;
mod secrets;

use std::{collections::BTreeMap, path::PathBuf};

use clap::ValueEnum as _;
use lambdaload_core::{
    plan::{Samples, SummaryMode, TimeUnit, Workers},
    secrets::Secrets,
};

use self::environment::Environment;
pub(crate) use self::file::{FILE_NAME, FileSettings};
pub(crate) use self::place::{PlaceSettings, StackSettings};
pub(crate) use self::platform::{PlatformSettings, TaskSettings};
pub(crate) use self::repeat::{Every, MAX_TIMES, parse_interval};
use crate::{
    args::{CommonArgs, Form, FormArgs, TestArgs, TimeUnitName},
    error::Failure,
};

/// The script without an argument, as `k6 new` names it.
pub(crate) const DEFAULT_SCRIPT: &str = "script.js";

/// The folder of lambdaload's own files.
const DEFAULT_DIR: &str = ".lambdaload";

/// A test and how to run it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct TestSettings {
    /// Script or archive.
    pub(crate) script: PathBuf,
    /// Whether somebody named it; otherwise it is [`DEFAULT_SCRIPT`], which may not be there.
    pub(crate) script_was_named: bool,
    /// Variables for `__ENV`, by name.
    pub(crate) env: Vec<(String, String)>,
    /// Secrets for the script.
    pub(crate) secrets: Secrets,
    /// Flags of k6 that override the script's options.
    pub(crate) k6_flags: Vec<String>,
    /// Labels of the run.
    pub(crate) tags: BTreeMap<String, String>,
    /// How many workers.
    pub(crate) workers: Workers,
    /// Least number of workers; none needs them all.
    pub(crate) min_workers: Option<u32>,
    /// Name of the test; none takes the script's.
    pub(crate) name: Option<String>,
    /// What is special about the run; none takes the script's.
    pub(crate) note: Option<String>,
    /// The k6 to use; none looks for one.
    pub(crate) k6: Option<PathBuf>,
    /// Whether thresholds are left out.
    pub(crate) no_thresholds: bool,
    /// How workers read their k6.
    pub(crate) samples: Samples,
    /// Statistics of trends; none takes the script's.
    pub(crate) trend_stats: Option<Vec<String>>,
    /// Unit of all times; none takes the script's.
    pub(crate) time_unit: Option<TimeUnit>,
    /// How much of k6's summary is shown.
    pub(crate) summary_mode: SummaryMode,
    /// Whether the summary has the shape of k6's flag of this name.
    pub(crate) machine_readable_summary: bool,
    /// File for the summary in k6's shape; none writes none.
    pub(crate) summary_export: Option<PathBuf>,
    /// Folder for report and documents; none is the run's own below the folder of lambdaload's files.
    pub(crate) out_dir: Option<PathBuf>,
    /// Where workers run.
    pub(crate) platform: PlatformSettings,
    /// Form of the result.
    pub(crate) form: Form,
    /// When it runs again; none runs it once.
    pub(crate) every: Option<Every>,
}

/// Where settings come from besides flags.
#[derive(Debug, Default)]
pub(crate) struct Sources {
    /// The environment.
    pub(crate) environment: Environment,
    /// `lambdaload.toml`.
    pub(crate) file: FileSettings,
}

impl Sources {
    /// The folder of lambdaload's own files.
    pub(crate) fn dir(&self, args: &CommonArgs) -> PathBuf {
        let given = args.dir.clone().or_else(|| self.path(environment::DIR));
        given.or_else(|| self.file.dir.clone()).unwrap_or_else(|| DEFAULT_DIR.into())
    }

    /// The k6 to use; none looks for one.
    pub(crate) fn k6(&self, flag: Option<PathBuf>) -> Option<PathBuf> {
        flag.or_else(|| self.path(environment::K6)).or_else(|| self.file.k6.clone())
    }

    /// Form of the result.
    pub(crate) fn form(&self, args: &FormArgs) -> Result<Form, Failure> {
        let of_environment = || {
            let text = self.environment.get(environment::OUTPUT)?;
            let expected = |_| not_valid_variable(environment::OUTPUT, text, "expected human or json");
            Some(Form::from_str(text, false).map_err(expected))
        };
        let given = args.output.map(Ok).or_else(of_environment).transpose()?;
        Ok(given.or(self.file.output).unwrap_or_default())
    }

    /// A test and how to run it.
    pub(crate) fn test(mut self, args: TestArgs) -> Result<TestSettings, Failure> {
        let form = self.form(&args.form)?;
        let platform = self.platform(&args.platform)?;
        let summary_export = args.summary_export.clone().or_else(|| self.path(environment::SUMMARY_EXPORT));
        let summary_export = summary_export.or_else(|| self.file.summary_export.clone());
        let every = Every::read(&args, summary_export.as_deref())?;
        let texts = |table: BTreeMap<String, file::Scalar>| table.into_iter().map(|(key, value)| (key, value.0));
        let of_config = texts(std::mem::take(&mut self.file.env));
        let secrets = self.secrets(&args)?;
        let mut env = self.env(&args, of_config)?;
        // A file may have a value for what is secret here; it is not used.
        env.retain(|(name, _)| !secrets.iter().any(|(secret, _)| secret == name));
        let tags = pairs::labels(&args.tags, texts(std::mem::take(&mut self.file.tags)))?;
        let of_environment = || {
            let text = self.environment.get(environment::WORKERS)?;
            Some(parse_workers(text).map_err(|expected| not_valid_variable(environment::WORKERS, text, expected)))
        };
        let workers = args.workers.map(Ok).or_else(of_environment).transpose()?;
        let of_environment = || {
            let text = self.environment.get(environment::SUMMARY_MODE)?;
            Some(SummaryMode::parse(text).map_err(|why| not_valid_variable(environment::SUMMARY_MODE, text, why)))
        };
        let summary_mode = args.summary_mode.map(Ok).or_else(of_environment).transpose()?;
        let of_environment = || {
            let text = self.environment.get(environment::SAMPLES)?;
            Some(Samples::parse(text).map_err(|why| not_valid_variable(environment::SAMPLES, text, why)))
        };
        let samples = args.samples.map(Ok).or_else(of_environment).transpose()?;
        let named = args.script.or_else(|| self.file.script.clone());
        Ok(TestSettings {
            script_was_named: named.is_some(),
            script: named.unwrap_or_else(|| DEFAULT_SCRIPT.into()),
            env,
            secrets,
            k6_flags: args.k6_flags.0,
            tags,
            workers: workers.or(self.file.workers).unwrap_or(Workers::Auto),
            min_workers: args.min_workers.or(self.file.min_workers),
            name: args.name.or_else(|| self.text(environment::NAME)).or_else(|| self.file.name.clone()),
            note: args.note.or_else(|| self.text(environment::NOTE)).or_else(|| self.file.note.clone()),
            k6: self.k6(args.k6),
            no_thresholds: args.no_thresholds || self.file.no_thresholds,
            samples: samples.or(self.file.samples).unwrap_or_default(),
            trend_stats: args.summary_trend_stats.or_else(|| self.file.summary_trend_stats.clone()),
            time_unit: args.summary_time_unit.or(self.file.summary_time_unit).map(TimeUnit::from),
            summary_mode: summary_mode.or(self.file.summary_mode).unwrap_or_default(),
            machine_readable_summary: args.new_machine_readable_summary || self.file.new_machine_readable_summary,
            summary_export,
            out_dir: args.out_dir.or_else(|| self.path(environment::OUT_DIR)).or_else(|| self.file.out_dir.clone()),
            platform,
            form,
            every,
        })
    }

    /// Variables: `-e` over `--env-file` over those of the config file.
    fn env(
        &self,
        args: &TestArgs,
        of_config: impl Iterator<Item = (String, String)>,
    ) -> Result<Vec<(String, String)>, Failure> {
        let file = args.env_file.as_ref().or(self.file.env_file.as_ref());
        let of_file = file.map(|path| env_file::read(path.as_path())).transpose()?.unwrap_or_default();
        pairs::variables(&args.env, of_config.chain(of_file), &self.environment)
    }

    /// Secrets of the config file and the flags. What is typed as a variable cannot be one.
    fn secrets(&self, args: &TestArgs) -> Result<Secrets, Failure> {
        let given = [self.file.secrets.as_slice(), &args.secrets].concat();
        let secrets = secrets::read(&given, &self.environment)?;
        let mut typed = args.env.iter().map(|text| text.split_once('=').map_or(text.as_str(), |(name, _)| name));
        match typed.find(|name| secrets.iter().any(|(secret, _)| secret == *name)) {
            Some(both) => Err(Failure::not_valid(format!("-e {both} and --secret {both}: expected one of them"))
                .detail("variables are stored in the archive, and secrets are not")),
            None => Ok(secrets),
        }
    }

    fn text(&self, variable: &str) -> Option<String> {
        self.environment.get(variable).map(str::to_owned)
    }

    fn path(&self, variable: &str) -> Option<PathBuf> {
        self.environment.get(variable).map(PathBuf::from)
    }
}

/// Reads a number of workers; the error says what was expected. Whether the number is one that can be run is the
/// plan's business.
pub(crate) fn parse_workers(text: &str) -> Result<Workers, &'static str> {
    match text {
        "auto" => Ok(Workers::Auto),
        number => number.parse().map(Workers::Exactly).map_err(|_| "expected a number or `auto`"),
    }
}

fn not_valid_variable(name: &str, value: &str, expected: &str) -> Failure {
    Failure::not_valid(format!("{name}={value} in the environment: {expected}"))
}

impl From<TimeUnitName> for TimeUnit {
    fn from(name: TimeUnitName) -> Self {
        match name {
            TimeUnitName::Seconds => Self::Seconds,
            TimeUnitName::Milliseconds => Self::Milliseconds,
            TimeUnitName::Microseconds => Self::Microseconds,
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    const FILE: &str = r#"
        script = "of_file.js"
        workers = 2
        note = "of file"
        dir = "dir_of_file"
        output = "json"
        summary-time-unit = "s"
        summary-mode = "full"
        samples = "aggregated"
        [env]
        HOST = "of file"
        USERS = 5
    "#;

    fn sources(variables: &[(&str, &str)]) -> Sources {
        let environment = match variables {
            [] => Environment::default(),
            [one] => Environment::from([*one]),
            [one, two, ..] => Environment::from([*one, *two]),
        };
        Sources { environment, file: FileSettings::parse(FILE).expect("reads") }
    }

    /// Those of a test of which nothing was said.
    pub(crate) fn usual() -> TestSettings {
        Sources::default().test(TestArgs::default()).expect("resolves")
    }

    #[test]
    fn without_anything_there_are_defaults() {
        let settings = Sources::default().test(TestArgs::default()).expect("resolves");
        assert_eq!((settings.script, settings.script_was_named), (PathBuf::from("script.js"), false));
        assert_eq!((settings.workers, settings.form, settings.env.len()), (Workers::Auto, Form::Human, 0));
        assert_eq!(Sources::default().dir(&CommonArgs::default()), PathBuf::from(".lambdaload"));
    }

    #[test]
    fn the_file_is_over_defaults() {
        let settings = sources(&[]).test(TestArgs::default()).expect("resolves");
        assert_eq!((settings.script, settings.script_was_named), (PathBuf::from("of_file.js"), true));
        assert_eq!((settings.workers, settings.form), (Workers::Exactly(2), Form::Json));
        assert_eq!((settings.time_unit, settings.samples), (Some(TimeUnit::Seconds), Samples::Aggregated));
        assert_eq!(settings.env, [("HOST".to_owned(), "of file".to_owned()), ("USERS".to_owned(), "5".to_owned())]);
    }

    #[test]
    fn the_environment_is_over_the_file() {
        let settings =
            sources(&[("LAMBDALOAD_WORKERS", "auto"), ("LAMBDALOAD_OUTPUT", "human")]).test(TestArgs::default());
        let settings = settings.expect("resolves");
        assert_eq!((settings.workers, settings.form), (Workers::Auto, Form::Human));
        assert_eq!(settings.summary_mode, SummaryMode::Full, "the file's");
        let settings = sources(&[("LAMBDALOAD_SUMMARY_MODE", "disabled")]).test(TestArgs::default());
        assert_eq!(settings.expect("resolves").summary_mode, SummaryMode::Disabled);
        let settings = sources(&[("LAMBDALOAD_SAMPLES", "exact")]).test(TestArgs::default()).expect("resolves");
        assert_eq!(settings.samples, Samples::Exact);
        let settings = sources(&[("LAMBDALOAD_NOTE", "of environment")]).test(TestArgs::default()).expect("resolves");
        assert_eq!(settings.note.as_deref(), Some("of environment"));
    }

    #[test]
    fn flags_are_over_all() {
        let args = TestArgs {
            script: Some("flag.js".into()),
            workers: Some(Workers::Exactly(7)),
            note: Some("of flag".into()),
            env: vec!["HOST=of flag".into()],
            form: FormArgs { output: Some(Form::Human) },
            ..TestArgs::default()
        };
        let settings = sources(&[("LAMBDALOAD_WORKERS", "3"), ("LAMBDALOAD_NOTE", "of environment")])
            .test(args)
            .expect("resolves");
        assert_eq!(
            (settings.script, settings.workers, settings.form),
            ("flag.js".into(), Workers::Exactly(7), Form::Human)
        );
        assert_eq!(settings.note.as_deref(), Some("of flag"));
        assert_eq!(settings.env[0].1, "of flag");
        let common = CommonArgs { dir: Some("flag".into()), ..CommonArgs::default() };
        assert_eq!(sources(&[("LAMBDALOAD_DIR", "of environment")]).dir(&common), PathBuf::from("flag"));
    }

    #[test]
    fn bad_variables_are_named() {
        let refused = |pair| sources(&[pair]).test(TestArgs::default()).expect_err("refused").headline;
        assert_eq!(
            refused(("LAMBDALOAD_WORKERS", "many")),
            "LAMBDALOAD_WORKERS=many in the environment: expected a number or `auto`"
        );
        assert_eq!(
            refused(("LAMBDALOAD_SUMMARY_MODE", "legacy")),
            "LAMBDALOAD_SUMMARY_MODE=legacy in the environment: k6 2.0 has dropped its `legacy` summary; use compact, or \
             full for groups and scenarios"
        );
        assert_eq!(
            refused(("LAMBDALOAD_SAMPLES", "raw")),
            "LAMBDALOAD_SAMPLES=raw in the environment: expected exact or aggregated"
        );
        assert_eq!(
            refused(("LAMBDALOAD_OUTPUT", "xml")),
            "LAMBDALOAD_OUTPUT=xml in the environment: expected human or json"
        );
    }
}
