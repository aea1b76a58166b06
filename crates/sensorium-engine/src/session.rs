//! The session: SQL in, frames out.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::SessionStateBuilder;
use datafusion::execution::context::SQLOptions;
use datafusion::logical_expr::LogicalPlan;
use datafusion::optimizer::analyzer::Analyzer;
use datafusion::optimizer::optimizer::Optimizer;
use datafusion::optimizer::{AnalyzerRule, OptimizerRule};
use datafusion::prelude::{DataFrame, SessionConfig, SessionContext};
use datafusion::sql::parser::Statement;
use sensorium_inference::{Catalog, CreateMode, MAX_CONTEXT_ROWS, ModelProgress};

use crate::engine::{Engine, one_statement};
use crate::errors::to_datafusion;
use crate::evaluate::evaluate;
use crate::frames::{Frame, with_frames};
use crate::functions::{MetricTable, PredictTable, Search, aggregate_functions, scalar_functions, table_functions};
use crate::infer::{MmQueryPlanner, PlanCodec};
use crate::rewrite::rewrite;
use crate::rules::{BindCalls, Binding, DelayCalls, HurryLimits, LiftCalls, ObservePredicates, PruneCalls, bind_calls};
use crate::settings::{self, MmSettings};
use crate::train::train;
use crate::{ddl, listing};

/// A DataFusion session that knows models. Cheap to clone; clones share everything.
#[derive(Clone)]
pub struct Session {
    context: SessionContext,
    engine: Arc<Engine>,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("models", &self.engine.catalog.location()).finish_non_exhaustive()
    }
}

impl Session {
    /// Opens a session whose models lie in the folder or URL `models`.
    ///
    /// # Errors
    /// When the catalog cannot be opened.
    pub fn open(models: &str) -> Result<Self> {
        let engine = Arc::new(Engine::new(Catalog::open(models).map_err(to_datafusion)?));
        let config = SessionConfig::new().with_information_schema(true).with_option_extension(MmSettings::default());
        let state = SessionStateBuilder::new()
            .with_config(config)
            .with_default_features()
            .with_analyzer_rules(analyzer_rules())
            .with_optimizer_rules(optimizer_rules())
            .with_physical_optimizer_rule(Arc::new(ObservePredicates))
            .with_physical_optimizer_rule(Arc::new(HurryLimits))
            .with_query_planner(Arc::new(MmQueryPlanner))
            .with_relation_planners(vec![Arc::new(MetricTable), Arc::new(PredictTable), Arc::new(Search)])
            .build();
        let context = SessionContext::new_with_state(state).enable_url_table();
        for function in scalar_functions(&engine) {
            context.register_udf(function);
        }
        for function in aggregate_functions() {
            context.register_udaf(function);
        }
        for entry in table_functions(&engine) {
            if let Some(implementation) = entry.implementation {
                context.register_udtf(entry.name, implementation);
            }
        }
        Ok(Self { context, engine })
    }

    /// Plans one statement; DDL and SET are carried out at once.
    ///
    /// # Errors
    /// With a hint, for anything wrong that can be known before a row is read.
    pub async fn sql(&self, sql: &str) -> Result<DataFrame> {
        self.engine.ledger.next_query();
        let Some(statement) = ddl::parse(sql)? else { return one_statement(self.plan(sql)).await };
        if let ddl::Statement::Train(training) = statement {
            return self.context.read_batch(one_statement(train(self, training)).await?);
        }
        if let ddl::Statement::Evaluate(evaluation) = statement {
            return self.context.read_batch(one_statement(evaluate(self, evaluation)).await?);
        }
        let statement = self.with_rows(statement).await?;
        let engine = Arc::clone(&self.engine);
        let limits = MmSettings::of(self.context.state_ref().read().config_options()).limits;
        let done = tokio::task::spawn_blocking(move || ddl::execute(&engine, &limits, statement)).await;
        let batch: RecordBatch = done.map_err(|error| DataFusionError::External(Box::new(error)))??;
        self.context.read_batch(batch)
    }

    /// Runs the query that a model is created with.
    async fn with_rows(&self, mut statement: ddl::Statement) -> Result<ddl::Statement> {
        if let ddl::Statement::Create { name, mode, query: Some(query), rows, .. } = &mut statement {
            // Nothing is made of the rows of a model that is there.
            if *mode == CreateMode::IfNotExists && self.engine.catalog.resolve(name).is_ok() {
                return Ok(statement);
            }
            // One more than may be, so that a table that is too long is noticed without being read.
            let plan = one_statement(self.logical_plan(query)).await?;
            let only_reads = SQLOptions::new().with_allow_ddl(false).with_allow_dml(false).with_allow_statements(false);
            only_reads.verify_plan(&plan)?;
            let found = DataFrame::new(self.context.state(), plan).limit(0, Some(MAX_CONTEXT_ROWS + 1))?;
            let schema = Arc::clone(found.schema().inner());
            *rows = Some(concat_batches(&schema, &found.collect().await?)?);
        }
        Ok(statement)
    }

    async fn plan(&self, sql: &str) -> Result<DataFrame> {
        let plan = self.logical_plan(sql).await?;
        self.context.execute_logical_plan(plan).await
    }

    pub(crate) async fn logical_plan(&self, sql: &str) -> Result<LogicalPlan> {
        let state = self.context.state();
        let statement = state.sql_to_statement(sql, &state.config_options().sql_parser.dialect)?;
        self.plan_of(statement).await
    }

    /// Plans a statement that is parsed.
    pub(crate) async fn plan_of(&self, mut statement: Statement) -> Result<LogicalPlan> {
        let state = self.context.state();
        rewrite(&mut statement);
        let plan = state.statement_to_plan(statement).await?;
        // Here and not only while it runs, so that a view or a frame does not change its meaning later.
        bind_calls(plan, Binding::Statement, state.config_options())
    }

    /// Registers a file, folder or glob as a table. Relative URIs in it are resolved against its folder.
    ///
    /// # Errors
    /// When the path cannot be read or its ending says nothing.
    pub async fn register(&self, name: &str, path: &str) -> Result<()> {
        listing::register_files(&self.context, name, path).await
    }

    /// The session for a statement that reads `frames` as tables, by name, before the tables that are there.
    ///
    /// Their rows are read in order, and come out in order where no join, aggregate or sort decides otherwise. Settings that are
    /// made on it are its own; models, tables and what is kept of results are shared.
    ///
    /// # Errors
    /// When two names are the same.
    pub fn with_frames(&self, frames: Vec<(String, Arc<dyn Frame>)>) -> Result<Self> {
        Ok(Self { context: with_frames(&self.context, frames)?, engine: Arc::clone(&self.engine) })
    }

    /// Has rows of files come in their order, where no join, aggregate or sort decides otherwise, and not be dealt out among cores:
    /// models use all of these in any case.
    pub fn keep_row_order(&self) {
        let state = self.context.state_ref();
        state.write().config_mut().options_mut().optimizer.enable_round_robin_repartition = false;
    }

    /// `SET key = value`.
    ///
    /// # Errors
    /// As SET: for an unknown setting or a value that makes no sense.
    pub async fn set(&self, key: &str, value: &str) -> Result<()> {
        // A dry run gives the setting's own message; SQL then also tells the functions.
        settings::set(self.context.copied_config().options_mut(), key, value)?;
        self.context.sql(&format!("SET {key} = '{}'", value.replace('\'', "''"))).await.map(|_| ())
    }

    /// Folder or URL of its models.
    pub fn models(&self) -> &str {
        self.engine.catalog.location()
    }

    /// DataFusion's context, for everything that has nothing to do with models.
    pub fn context(&self) -> &SessionContext {
        &self.context
    }

    /// What sends plans with model calls to another process, which opens a session over the same models.
    pub fn codec(&self) -> Arc<PlanCodec> {
        Arc::new(PlanCodec::new(&self.engine))
    }

    pub(crate) fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }

    /// What goes on besides queries, a line each: how far a training is.
    pub fn activity(&self) -> Vec<String> {
        self.engine.activity.lines()
    }

    /// Rows that each loaded model has seen.
    pub fn progress(&self) -> Vec<ModelProgress> {
        self.engine.models.progress()
    }
}

/// Ours before DataFusion's, which then see bound calls.
fn analyzer_rules() -> Vec<Arc<dyn AnalyzerRule + Send + Sync>> {
    let ours: [Arc<dyn AnalyzerRule + Send + Sync>; 2] = [Arc::new(BindCalls), Arc::new(LiftCalls)];
    ours.into_iter().chain(Analyzer::new().rules).collect()
}

/// DataFusion's, with ours where they belong.
fn optimizer_rules() -> Vec<Arc<dyn OptimizerRule + Send + Sync>> {
    let mut rules = Optimizer::new().rules;
    let behind = |rules: &[Arc<dyn OptimizerRule + Send + Sync>], name: &str| {
        rules.iter().position(|rule| rule.name() == name).map_or(rules.len(), |place| place + 1)
    };
    // Correlated subqueries are joins from here on.
    rules.insert(behind(&rules, "decorrelate_lateral_join"), Arc::new(LiftCalls));
    rules.insert(behind(&rules, "push_down_filter"), Arc::new(DelayCalls));
    rules.push(Arc::new(PruneCalls));
    rules
}
