//! Changes of the configuration while the node runs.
//!
//! **The order of a change.** The new configuration is made and checked as a whole; each module that takes part
//! must have a manager and find the change fine; then it is remembered, durably; then it is applied, module after
//! module; and only then it is acknowledged. If a module can't apply it after all, those before it go back, and
//! so does the file.
//!
//! **Invariants.** What [`Configuration::show`] shows is in force. Changes come one after the other. A crash
//! in the middle leaves the change to the next start, which nobody was told of.
//!
//! **Not here.** Which items can be changed (`config::online`), and how a node does it (`node::NodeControl`).

use super::settings;
use crate::config::remembered::{self, Items};
use crate::config::{self, Config, Module, Problems};
use crate::logging;
use engine_rocks::RocksTuner;
use node::NodeControl;
use parking_lot::Mutex;
use serde_json::{Map, Value, json};
use server::{Configuration, Fault, Refused, Tracer};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

/// How long a stop waits for a change under way.
const PATIENCE: Duration = Duration::from_secs(2);

/// Applies what changes in one module.
pub trait Manager: Send {
    /// Goes by this configuration from now on.
    ///
    /// # Errors
    /// It can't now: nothing has changed.
    fn apply(&self, config: &Config) -> Result<(), String>;
}

/// Reads the configuration again as the start did.
pub type Reload = Box<dyn Fn() -> Result<Config, Problems> + Send + Sync>;

/// The configuration of one node.
pub struct Online {
    state: Mutex<State>,
    reload: Option<Reload>,
}

struct State {
    config: Config,
    managers: BTreeMap<Module, Box<dyn Manager>>,
    path: PathBuf,
    remembered: Items,
}

struct LogManager;

impl Manager for LogManager {
    fn apply(&self, config: &Config) -> Result<(), String> {
        logging::change(config)
    }
}

struct MetricsManager;

impl Manager for MetricsManager {
    fn apply(&self, config: &Config) -> Result<(), String> {
        metrics::switch(config.metrics.enable);
        Ok(())
    }
}

struct EngineManager(RocksTuner);

impl Manager for EngineManager {
    fn apply(&self, config: &Config) -> Result<(), String> {
        let applied = self.0.apply(&settings::rocks_options(config));
        applied.map_err(|error| error.to_string())
    }
}

struct TracingManager(Tracer);

impl Manager for TracingManager {
    fn apply(&self, config: &Config) -> Result<(), String> {
        self.0.set_sample_one_in(config.tracing.sample_one_in);
        Ok(())
    }
}

struct NodeManager {
    control: NodeControl,
    seed: u64,
}

impl Manager for NodeManager {
    fn apply(&self, config: &Config) -> Result<(), String> {
        let options = settings::node_options(config, self.seed);
        let applied = self.control.apply(&options);
        applied.map_err(|error| error.to_string())
    }
}

impl Online {
    /// Of a node that starts with this configuration. What is the process's can be changed at once.
    pub fn new(config: &Config) -> Self {
        metrics::switch(config.metrics.enable);
        let data_dir = &config.storage.data_dir;
        let managers: [(Module, Box<dyn Manager>); 2] = [
            (Module::Log, Box::new(LogManager)),
            (Module::Metrics, Box::new(MetricsManager)),
        ];
        Self::with(config, managers, data_dir.as_path())
    }

    fn with(
        config: &Config,
        managers: impl IntoIterator<Item = (Module, Box<dyn Manager>)>,
        data_dir: &std::path::Path,
    ) -> Self {
        let state = State {
            config: config.clone(),
            managers: managers.into_iter().collect(),
            path: remembered::path(data_dir),
            remembered: remembered::items(data_dir),
        };
        Self {
            state: Mutex::new(state),
            reload: None,
        }
    }

    /// One that can be read again.
    pub fn reloading(self, reload: Reload) -> Self {
        Self {
            reload: Some(reload),
            ..self
        }
    }

    /// The data is open, and can be tuned.
    pub fn manage_engine(&self, tuner: RocksTuner) {
        let manager = Box::new(EngineManager(tuner));
        self.state.lock().managers.insert(Module::Engine, manager);
    }

    /// Some requests are traced.
    pub fn manage_tracing(&self, tracer: Tracer) {
        let manager = Box::new(TracingManager(tracer));
        self.state.lock().managers.insert(Module::Tracing, manager);
    }

    /// The node runs, with this seed, and can be changed.
    pub fn manage_node(&self, control: NodeControl, seed: u64) {
        let manager = Box::new(NodeManager { control, seed });
        self.state.lock().managers.insert(Module::Node, manager);
    }

    /// Lets go of the node, which is about to stop. A change under way may wait for a full disk, which the stop
    /// ends: so it is not waited for long, and then the node goes with the process.
    pub fn release_node(&self) {
        if let Some(mut state) = self.state.try_lock_for(PATIENCE) {
            drop(state.managers.remove(&Module::Node));
        }
    }
}

fn refused(fault: Fault, problem: String) -> Refused {
    Refused {
        fault,
        problems: vec![problem],
    }
}

impl Configuration for Online {
    fn show(&self) -> Value {
        let state = self.state.lock();
        serde_json::to_value(&state.config).expect("a configuration is serialisable")
    }

    fn items(&self) -> Value {
        let current = self.show();
        let items = config::items().into_iter().map(|item| {
            let at = format!("/{}", item.key.replace('.', "/"));
            json!({
                "key": item.key,
                "value": current.pointer(&at),
                "default": item.default,
                "online": item.is_online,
                "about": item.doc,
            })
        });
        items.collect()
    }

    fn change(&self, items: Map<String, Value>, is_remembered: bool) -> Result<Value, Refused> {
        let mut state = self.state.lock();
        let wanted = config::changed(&state.config, &items).map_err(|problems| Refused {
            fault: Fault::Request,
            problems,
        })?;
        let modules = state.managed(items.keys())?;
        failpoint::at!("kontiki::online::before_remembered");
        if is_remembered {
            state.remember(&items)?;
        }
        failpoint::at!("kontiki::online::remembered");
        if let Err(problem) = state.apply(&modules, &wanted) {
            state.forget();
            return Err(refused(Fault::Machine, problem));
        }
        failpoint::at!("kontiki::online::applied");
        for (key, value) in &items {
            tracing::info!(key, %value, is_remembered, "changed online");
        }
        if is_remembered {
            state.remembered.extend(toml_items(&items));
        }
        state.config = wanted;
        Ok(json!({ "changed": items, "remembered": is_remembered }))
    }

    fn reload(&self) -> Result<Value, Refused> {
        let Some(reload) = &self.reload else {
            let problem = "this node was started without a configuration file".to_owned();
            return Err(refused(Fault::Request, problem));
        };
        let mut state = self.state.lock();
        let wanted = reload().map_err(|Problems(problems)| Refused {
            fault: Fault::Request,
            problems: problems.iter().map(ToString::to_string).collect(),
        })?;
        let items = config::difference(&state.config, &wanted);
        let fixed: Vec<String> = items
            .keys()
            .filter_map(|key| config::refusal(key))
            .collect();
        if !fixed.is_empty() {
            return Err(Refused {
                fault: Fault::Request,
                problems: fixed,
            });
        }
        let modules = state.managed(items.keys())?;
        let applied = state.apply(&modules, &wanted);
        applied.map_err(|problem| refused(Fault::Machine, problem))?;
        for (key, value) in &items {
            tracing::info!(key, %value, "changed by the configuration file");
        }
        state.config = wanted;
        Ok(json!({ "changed": items }))
    }
}

impl State {
    /// Those who take up changes of these items. Each has to be there.
    fn managed<'a>(
        &self,
        keys: impl Iterator<Item = &'a String>,
    ) -> Result<BTreeSet<Module>, Refused> {
        let modules: BTreeSet<Module> = keys.filter_map(|key| config::module_of(key)).collect();
        if modules
            .iter()
            .all(|module| self.managers.contains_key(module))
        {
            return Ok(modules);
        }
        let problem = "the node is starting or stopping: try again when it serves".to_owned();
        Err(refused(Fault::NotNow, problem))
    }

    /// Makes the change durable.
    fn remember(&self, items: &Map<String, Value>) -> Result<(), Refused> {
        let mut all = self.remembered.clone();
        all.extend(toml_items(items));
        let stored = remembered::store(&self.path, &all);
        stored.map_err(|error| refused(Fault::Machine, format!("can't be remembered: {error}")))
    }

    /// Goes back to what was remembered before.
    fn forget(&self) {
        if let Err(error) = remembered::store(&self.path, &self.remembered) {
            tracing::error!(%error, path = %self.path.display(), "a change that failed is in effect at the next start");
        }
    }

    /// All modules or none.
    fn apply(&self, modules: &BTreeSet<Module>, wanted: &Config) -> Result<(), String> {
        let mut applied: Vec<&dyn Manager> = Vec::new();
        for module in modules {
            let manager = &*self.managers[module];
            if let Err(problem) = manager.apply(wanted) {
                for before in applied.into_iter().rev() {
                    if let Err(error) = before.apply(&self.config) {
                        tracing::error!(error, "a change that failed could not be taken back");
                    }
                }
                return Err(problem);
            }
            applied.push(manager);
        }
        Ok(())
    }
}

/// Values that were accepted, as the file has them.
fn toml_items(items: &Map<String, Value>) -> Items {
    let pairs = items.iter();
    let pairs = pairs.filter_map(|(key, value)| Some((key.clone(), config::scalar(value)?)));
    pairs.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;
    use std::sync::Arc;

    /// Writes down what it is given; fails if the pool is as large as this.
    struct Recorder {
        seen: Arc<Mutex<Vec<(Module, usize)>>>,
        module: Module,
        fails_at: Option<usize>,
    }

    impl Manager for Recorder {
        fn apply(&self, config: &Config) -> Result<(), String> {
            let size = config.raftstore.store_pool_size;
            if Some(size) == self.fails_at {
                return Err("no threads".to_owned());
            }
            self.seen.lock().push((self.module, size));
            Ok(())
        }
    }

    struct Fixture {
        online: Online,
        seen: Arc<Mutex<Vec<(Module, usize)>>>,
        folder: tempfile::TempDir,
    }

    impl Fixture {
        /// The node's manager fails at a pool of 7.
        fn new(modules: &[Module]) -> Self {
            let folder = tempfile::tempdir().unwrap();
            let seen = Arc::new(Mutex::new(Vec::new()));
            let recorder = |module: &Module| -> (Module, Box<dyn Manager>) {
                let fails_at = (*module == Module::Node).then_some(7);
                let seen = Arc::clone(&seen);
                let module = *module;
                (
                    module,
                    Box::new(Recorder {
                        seen,
                        module,
                        fails_at,
                    }),
                )
            };
            let online = Online::with(
                &Config::default(),
                modules.iter().map(recorder),
                folder.path(),
            );
            Self {
                online,
                seen,
                folder,
            }
        }

        fn change(&self, items: Value) -> Result<Value, Refused> {
            self.online.change(items.as_object().unwrap().clone(), true)
        }

        fn size(&self) -> Value {
            self.online.show()["raftstore"]["store-pool-size"].clone()
        }

        fn remembered(&self) -> Items {
            remembered::items(Path::new(self.folder.path()))
        }
    }

    const BOTH: [Module; 2] = [Module::Log, Module::Node];

    #[test]
    fn a_change_of_two_modules_reaches_both_and_is_remembered() {
        let fixture = Fixture::new(&BOTH);
        let items = json!({ "log.level": "debug", "raftstore.store-pool-size": 5 });
        fixture.change(items).unwrap();
        assert_eq!(*fixture.seen.lock(), [(Module::Log, 5), (Module::Node, 5)]);
        assert_eq!(fixture.size(), 5);
        assert_eq!(fixture.remembered().len(), 2);
        fixture
            .change(json!({ "raftstore.store-pool-size": 3 }))
            .unwrap();
        assert_eq!(
            fixture.remembered()["raftstore.store-pool-size"],
            toml::Value::Integer(3)
        );
        assert_eq!(fixture.remembered().len(), 2);
    }

    #[test]
    fn a_module_that_rejects_half_way_takes_the_others_and_the_file_back() {
        let fixture = Fixture::new(&BOTH);
        let items = json!({ "log.level": "debug", "raftstore.store-pool-size": 7 });
        let error = fixture.change(items).unwrap_err();
        assert_eq!(error, refused(Fault::Machine, "no threads".to_owned()));
        assert_eq!(*fixture.seen.lock(), [(Module::Log, 7), (Module::Log, 0)]);
        assert_eq!(
            (fixture.size(), fixture.remembered()),
            (0.into(), Items::new())
        );
    }

    #[test]
    fn an_item_without_a_manager_is_refused_and_nothing_is_changed() {
        let fixture = Fixture::new(&[Module::Log]);
        let items = json!({ "log.level": "debug", "raftstore.store-pool-size": 5 });
        assert_eq!(fixture.change(items).unwrap_err().fault, Fault::NotNow);
        assert!(fixture.seen.lock().is_empty() && fixture.remembered().is_empty());
    }

    #[test]
    fn what_can_not_be_remembered_is_not_applied() {
        let fixture = Fixture::new(&BOTH);
        // A folder in its place.
        std::fs::create_dir(remembered::path(fixture.folder.path())).unwrap();
        let error = fixture.change(json!({ "log.level": "debug" })).unwrap_err();
        assert_eq!(error.fault, Fault::Machine);
        assert!(fixture.seen.lock().is_empty());
    }

    #[test]
    fn a_change_for_now_is_not_remembered() {
        let fixture = Fixture::new(&BOTH);
        let items = json!({ "raftstore.store-pool-size": 5 });
        let items = items.as_object().unwrap().clone();
        fixture.online.change(items, false).unwrap();
        assert_eq!(
            (fixture.size(), fixture.remembered()),
            (5.into(), Items::new())
        );
    }

    #[test]
    fn a_file_is_taken_up_as_a_whole_or_not_at_all() {
        let reloading = |items: Value| {
            let Fixture {
                online,
                seen,
                folder,
            } = Fixture::new(&BOTH);
            let wanted = config::changed(&Config::default(), items.as_object().unwrap());
            let mut wanted = wanted.unwrap();
            if items.as_object().unwrap().is_empty() {
                wanted.server.addr = "h:1".to_owned();
            }
            let online = online.reloading(Box::new(move || Ok(wanted.clone())));
            let answer = online.reload();
            let fixture = Fixture {
                online,
                seen,
                folder,
            };
            (answer, fixture)
        };
        let (answer, fixture) = reloading(json!({ "raftstore.store-pool-size": 5 }));
        let expected = json!({ "changed": { "raftstore.store-pool-size": 5 } });
        assert_eq!(answer, Ok(expected));
        assert_eq!(*fixture.seen.lock(), [(Module::Node, 5)]);
        assert_eq!(
            (fixture.size(), fixture.remembered()),
            (5.into(), Items::new())
        );
        let (answer, fixture) = reloading(json!({}));
        assert!(answer.unwrap_err().problems[0].contains("server.addr"));
        assert!(fixture.seen.lock().is_empty());
        let without = Fixture::new(&BOTH).online.reload().unwrap_err();
        assert_eq!(without.fault, Fault::Request);
    }

    #[test]
    fn items_are_shown_with_what_is_in_force() {
        let fixture = Fixture::new(&BOTH);
        fixture
            .change(json!({ "raftstore.store-pool-size": 5 }))
            .unwrap();
        let items = fixture.online.items();
        let mut found = items.as_array().unwrap().iter();
        let item = found.find(|item| item["key"] == "raftstore.store-pool-size");
        let expected = json!({
            "key": "raftstore.store-pool-size", "value": 5, "default": 0, "online": true,
            "about": "Threads that drive Peers. 0: one on a machine of one or two processors, otherwise two.",
        });
        assert_eq!(item, Some(&expected));
    }
}
