//! Statements that are planned by one and carried out by another, such as a job that runs a plan part by part.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use datafusion::common::ScalarValue;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::context::SQLOptions;
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::{DataType, Expr as SqlExpr, TypedString, Value, VisitMut, VisitorMut};
use sensorium_inference::{Error, Kind, ModelVersion};

use crate::call::ModelFunction;
use crate::ddl;
use crate::engine::one_statement;
use crate::errors::to_datafusion;
use crate::ledger::FailedRow;
use crate::session::Session;

/// A query that is planned, its models fixed to versions and its media to folders.
#[derive(Debug, Clone)]
pub struct Prepared {
    /// The plan as it was written, before any optimisation.
    pub plan: LogicalPlan,
    /// What it runs, in the order of the names that the query has for them.
    pub models: Vec<UsedModel>,
}

/// A model of a query.
#[derive(Debug, Clone)]
pub struct UsedModel {
    /// As the query names it: `credit`, `credit@3`, `credit@champion`.
    pub reference: String,
    /// What that was when the query was planned.
    pub version: Arc<ModelVersion>,
}

impl Session {
    /// Plans a query without running it; `$name` in it stands for the value of that name. Models that `pins` knows are taken as the
    /// versions that it says, such as `credit@3`, whatever they would mean now.
    ///
    /// # Errors
    /// As [`Session::sql`] for anything wrong that can be known before a row is read; for anything but one query.
    pub async fn prepare(
        &self,
        sql: &str,
        parameters: &BTreeMap<String, ScalarValue>,
        pins: &BTreeMap<String, String>,
    ) -> Result<Prepared> {
        self.engine().ledger.next_query();
        if ddl::parse(sql)?.is_some() {
            return Err(to_datafusion(Error::new(Kind::Argument, "a statement about models, and not a query").with_hint("SELECT ..")));
        }
        let state = self.context().state();
        let mut statement = state.sql_to_statement(sql, &state.config_options().sql_parser.dialect)?;
        bind_parameters(&mut statement, parameters)?;
        let plan = one_statement(async {
            for (reference, pinned) in pins {
                self.engine().pin(reference, pinned)?;
            }
            self.plan_of(statement).await
        })
        .await?;
        SQLOptions::new().with_allow_ddl(false).with_allow_dml(false).with_allow_statements(false).verify_plan(&plan)?;
        let models = models_of(&plan)?;
        Ok(Prepared { plan, models })
    }

    /// The files of a model that the catalog does not hold as they were created; all of them are read.
    ///
    /// # Errors
    /// Where the catalog cannot be read.
    pub async fn damaged_files(&self, version: &Arc<ModelVersion>) -> Result<Vec<String>> {
        let (engine, version) = (Arc::clone(self.engine()), Arc::clone(version));
        let read = tokio::task::spawn_blocking(move || engine.catalog.damaged_files(&version)).await;
        read.map_err(|error| DataFusionError::External(Box::new(error)))?.map_err(to_datafusion)
    }

    /// The rows that have failed since the last call, and how many more did beyond `mm.max_errors`.
    pub fn take_failures(&self) -> (Vec<FailedRow>, u64) {
        self.engine().ledger.take()
    }
}

/// Puts values in the place of `$name`: as values, not as text, so that nothing in them is read as SQL.
fn bind_parameters(statement: &mut Statement, parameters: &BTreeMap<String, ScalarValue>) -> Result<()> {
    struct Bind<'p>(&'p BTreeMap<String, ScalarValue>);

    impl VisitorMut for Bind<'_> {
        type Break = Error;

        fn post_visit_expr(&mut self, expr: &mut SqlExpr) -> ControlFlow<Error> {
            if let SqlExpr::Value(value) = expr
                && let Value::Placeholder(name) = &value.value
            {
                match name.strip_prefix('$').and_then(|name| self.0.get(name)).map(literal) {
                    Some(Some(bound)) => *expr = bound,
                    Some(None) => {
                        return ControlFlow::Break(Error::new(
                            Kind::Argument,
                            format!("parameter {name}: a value of a type that SQL has no literal for"),
                        ));
                    }
                    None => return ControlFlow::Break(Error::new(Kind::Argument, format!("parameter {name} has no value"))),
                }
            }
            ControlFlow::Continue(())
        }
    }

    let Statement::Statement(inner) = statement else {
        return Err(to_datafusion(Error::new(Kind::Argument, "not a query").with_hint("SELECT ..")));
    };
    match inner.visit(&mut Bind(parameters)) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(error) => Err(to_datafusion(error)),
    }
}

fn literal(value: &ScalarValue) -> Option<SqlExpr> {
    let value = match value {
        ScalarValue::Utf8(Some(text)) => Value::SingleQuotedString(text.clone()),
        ScalarValue::Int64(Some(number)) => Value::Number(number.to_string(), false),
        ScalarValue::Float64(Some(number)) => Value::Number(format!("{number:?}"), false),
        ScalarValue::Boolean(Some(truth)) => Value::Boolean(*truth),
        ScalarValue::Date32(Some(_)) => {
            let text = Value::SingleQuotedString(value.to_string());
            return Some(SqlExpr::TypedString(TypedString { data_type: DataType::Date, value: text.into(), uses_odbc_syntax: false }));
        }
        _ => return None,
    };
    Some(SqlExpr::Value(value.into()))
}

/// The versions that the calls of a plan are bound to.
fn models_of(plan: &LogicalPlan) -> Result<Vec<UsedModel>> {
    let mut found = BTreeMap::new();
    plan.apply_with_subqueries(|node| {
        node.apply_expressions(|expr| {
            expr.apply(|expr| {
                if let Expr::ScalarFunction(call) = expr
                    && let Some(bound) = call.func.inner().downcast_ref::<ModelFunction>().and_then(ModelFunction::bound)
                {
                    found.insert(bound.reference().to_string(), Arc::clone(&bound.whole));
                }
                Ok(TreeNodeRecursion::Continue)
            })
        })
    })?;
    Ok(found.into_iter().map(|(reference, version)| UsedModel { reference, version }).collect())
}
