//! Plans with model calls as bytes, so that another process can run them.
//!
//! A call travels as the name of its function, the version and SHA-256 of its model, and its arguments. The model's
//! files do not travel: the other process has a session over the same catalog, and refuses a version whose content differs.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use arrow::datatypes::{Field, FieldRef, SchemaRef};
use datafusion::catalog::TableProvider;
use datafusion::common::{Result, TableReference, internal_datafusion_err, not_impl_err, plan_err};
use datafusion::datasource::file_format::FileFormatFactory;
use datafusion::error::DataFusionError;
use datafusion::execution::TaskContext;
use datafusion::logical_expr::{Expr, Extension, LogicalPlan, ScalarUDF};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::ExecutionPlan;
use datafusion_proto::logical_plan::from_proto::parse_expr;
use datafusion_proto::logical_plan::to_proto::serialize_expr;
use datafusion_proto::logical_plan::{DefaultLogicalExtensionCodec, LogicalExtensionCodec};
use datafusion_proto::physical_plan::{PhysicalExtensionCodec, PhysicalPlanDecodeContext, PhysicalProtoConverterExtension};
use datafusion_proto::protobuf;
use prost::Message;

use super::call::{InferCall, model_function};
use super::exec::{InferExec, PhysicalCall};
use super::guard::{Guard, PhysicalGuard};
use super::node::Infer;
use crate::call::{Bound, ModelFunction};
use crate::engine::Engine;
use crate::functions::{VectorFunction, scalar_functions};

/// Encodes and decodes the model calls of a session's plans; for `datafusion-proto` and what builds on it.
#[derive(Debug)]
pub struct PlanCodec {
    engine: Arc<Engine>,
}

/// A bound function.
#[derive(Clone, PartialEq, Message)]
struct FunctionMessage {
    #[prost(string, tag = "1")]
    reference: String,
    #[prost(string, tag = "2")]
    version: String,
    #[prost(string, tag = "3")]
    sha256: String,
    #[prost(btree_map = "string, string", tag = "4")]
    bases: BTreeMap<String, String>,
    #[prost(bool, tag = "5")]
    null_on_error: bool,
    #[prost(string, tag = "6")]
    name: String,
    /// The input whose side of a joint model it is.
    #[prost(string, optional, tag = "7")]
    side: Option<String>,
    /// The function over vectors that the call is part of.
    #[prost(string, optional, tag = "8")]
    part_of: Option<String>,
    /// How texts are written, as JSON.
    #[prost(string, optional, tag = "9")]
    options: Option<String>,
}

/// What both kinds of nodes have.
#[derive(Clone, PartialEq, Message)]
struct CallMessage {
    #[prost(message, optional, tag = "1")]
    function: Option<FunctionMessage>,
    #[prost(bool, tag = "2")]
    is_repeated: bool,
    #[prost(string, optional, tag = "3")]
    decides: Option<String>,
    /// Number of conditions of each alternative of the guard.
    #[prost(uint32, repeated, tag = "4")]
    guard: Vec<u32>,
}

#[derive(Clone, PartialEq, Message)]
struct LogicalMessage {
    #[prost(message, optional, tag = "1")]
    call: Option<CallMessage>,
    #[prost(string, tag = "2")]
    column: String,
    #[prost(message, optional, tag = "3")]
    model: Option<protobuf::LogicalExprNode>,
    #[prost(message, repeated, tag = "4")]
    args: Vec<protobuf::LogicalExprNode>,
    #[prost(message, repeated, tag = "5")]
    conditions: Vec<protobuf::LogicalExprNode>,
}

#[derive(Clone, PartialEq, Message)]
struct PhysicalMessage {
    #[prost(message, optional, tag = "1")]
    call: Option<CallMessage>,
    #[prost(message, optional, tag = "2")]
    field: Option<protobuf::Field>,
    #[prost(string, tag = "3")]
    batches: String,
    #[prost(message, repeated, tag = "4")]
    args: Vec<protobuf::PhysicalExprNode>,
    #[prost(message, repeated, tag = "5")]
    conditions: Vec<protobuf::PhysicalExprNode>,
    #[prost(message, optional, tag = "6")]
    filter: Option<protobuf::PhysicalExprNode>,
    #[prost(bool, tag = "7")]
    may_end_early: bool,
}

fn incomplete() -> DataFusionError {
    internal_datafusion_err!("a model call that was not encoded here")
}

fn unreadable(error: &dyn fmt::Display) -> DataFusionError {
    internal_datafusion_err!("cannot read a model call: {error}")
}

/// Errors of two crates that both stand for a plan which cannot be sent.
fn cannot_send(error: &dyn fmt::Display) -> DataFusionError {
    DataFusionError::Plan(format!("cannot send this plan to another process: {error}"))
}

/// Cuts `conditions` into alternatives of the given lengths.
fn alternatives<T>(lengths: &[u32], conditions: Vec<T>) -> Result<Vec<Vec<T>>> {
    let mut rest = conditions.into_iter();
    let cut: Vec<Vec<T>> = lengths.iter().map(|length| rest.by_ref().take(*length as usize).collect()).collect();
    let is_whole = rest.next().is_none() && cut.iter().zip(lengths).all(|(own, length)| own.len() == *length as usize);
    if is_whole { Ok(cut) } else { Err(incomplete()) }
}

fn lengths(guard: impl Iterator<Item = usize>) -> Vec<u32> {
    guard.map(|length| u32::try_from(length).unwrap_or(u32::MAX)).collect()
}

impl PlanCodec {
    pub(crate) fn new(engine: &Arc<Engine>) -> Self {
        Self { engine: Arc::clone(engine) }
    }

    fn function_message(function: &ScalarUDF) -> Result<Option<FunctionMessage>> {
        if let Some(call) = function.inner().downcast_ref::<VectorFunction>().and_then(VectorFunction::same_for_all) {
            let part_of = Some(function.name().to_string());
            return Ok(Self::function_message(call)?.map(|message| FunctionMessage { part_of, ..message }));
        }
        let Some(model_function) = function.inner().downcast_ref::<ModelFunction>() else { return Ok(None) };
        let Some(bound) = model_function.bound() else { return Ok(None) };
        Ok(Some(FunctionMessage {
            reference: bound.reference().to_string(),
            version: bound.whole.pinned(),
            sha256: bound.whole.sha256.clone(),
            side: bound.side().map(str::to_string),
            bases: bound.bases.clone(),
            null_on_error: model_function.null_on_error(),
            name: function.name().to_string(),
            part_of: None,
            options: bound.options().map(str::to_string),
        }))
    }

    fn function(&self, message: FunctionMessage) -> Result<Arc<ScalarUDF>> {
        let FunctionMessage { reference, version, sha256, bases, null_on_error, name, side, part_of, options } = message;
        let find = |name: &str| {
            let found = scalar_functions(&self.engine).into_iter().find(|function| function.name() == name);
            found.ok_or_else(|| internal_datafusion_err!("no function {name}"))
        };
        let unbound = find(&name)?;
        let resolved = self.engine.resolve(&version)?;
        if resolved.sha256 != sha256 {
            return plan_err!("model {version} has another content in this catalog: sha256 {}, the plan wants {sha256}", resolved.sha256);
        }
        let part = match side {
            None => Arc::clone(&resolved),
            Some(side) => Arc::new(resolved.side(&side).ok_or_else(incomplete)?),
        };
        let bound = Bound::new(&reference, resolved, part, bases).with_options(options.as_deref())?;
        let call = Arc::new(model_function(&unbound)?.bind_to(bound, null_on_error));
        let Some(whole) = part_of else { return Ok(call) };
        let whole = find(&whole)?;
        let whole = whole.inner().downcast_ref::<VectorFunction>().ok_or_else(incomplete)?;
        Ok(Arc::new(whole.fresh_with(&call)))
    }

    fn bound_function(&self, message: Option<FunctionMessage>) -> Result<Arc<ScalarUDF>> {
        self.function(message.ok_or_else(incomplete)?)
    }

    fn encode_logical(&self, call: &InferCall) -> Result<LogicalMessage> {
        let encode = |expr: &Expr| serialize_expr(expr, self).map_err(|error| cannot_send(&error));
        let common = CallMessage {
            function: Self::function_message(&call.func)?,
            is_repeated: call.is_repeated,
            decides: call.decides.clone(),
            guard: lengths(call.guard.alternatives().iter().map(Vec::len)),
        };
        Ok(LogicalMessage {
            call: Some(common),
            column: call.column.clone(),
            model: Some(encode(&call.model)?),
            args: call.args.iter().map(encode).collect::<Result<_>>()?,
            conditions: call.guard.expressions().map(encode).collect::<Result<_>>()?,
        })
    }

    fn decode_logical(&self, message: LogicalMessage, context: &TaskContext) -> Result<InferCall> {
        let decode = |expr: &protobuf::LogicalExprNode| parse_expr(expr, context, self).map_err(|error| unreadable(&error));
        let common = message.call.ok_or_else(incomplete)?;
        let conditions = message.conditions.iter().map(decode).collect::<Result<_>>()?;
        Ok(InferCall {
            func: self.bound_function(common.function)?,
            model: decode(&message.model.ok_or_else(incomplete)?)?,
            args: message.args.iter().map(decode).collect::<Result<_>>()?,
            guard: Guard::of_alternatives(alternatives(&common.guard, conditions)?),
            column: message.column,
            is_repeated: common.is_repeated,
            decides: common.decides,
        })
    }

    fn encode_physical(&self, infer: &InferExec, converter: &dyn PhysicalProtoConverterExtension) -> Result<PhysicalMessage> {
        let encode = |expr: &Arc<dyn PhysicalExpr>| converter.physical_expr_to_proto(expr, self);
        let call = infer.call();
        let common = CallMessage {
            function: Self::function_message(&call.func)?,
            is_repeated: call.is_repeated,
            decides: call.decides.clone(),
            guard: lengths(call.guard.alternatives().iter().map(Vec::len)),
        };
        Ok(PhysicalMessage {
            call: Some(common),
            field: Some(call.field.as_ref().try_into().map_err(|error| cannot_send(&error))?),
            batches: call.batches.clone(),
            args: call.args.iter().map(encode).collect::<Result<_>>()?,
            conditions: call.guard.expressions().map(encode).collect::<Result<_>>()?,
            filter: infer.filter().map(encode).transpose()?,
            may_end_early: infer.may_end_early(),
        })
    }

    fn decode_physical(
        &self,
        message: PhysicalMessage,
        input: Arc<dyn ExecutionPlan>,
        context: &TaskContext,
        converter: &dyn PhysicalProtoConverterExtension,
    ) -> Result<InferExec> {
        let (schema, context) = (input.schema(), PhysicalPlanDecodeContext::new(context, self));
        let decode = |expr: &protobuf::PhysicalExprNode| converter.proto_to_physical_expr(expr, &schema, &context);
        let common = message.call.ok_or_else(incomplete)?;
        let conditions = message.conditions.iter().map(decode).collect::<Result<_>>()?;
        let field: FieldRef = Arc::new(Field::try_from(&message.field.ok_or_else(incomplete)?).map_err(|error| unreadable(&error))?);
        let call = PhysicalCall {
            func: self.bound_function(common.function)?,
            args: message.args.iter().map(decode).collect::<Result<_>>()?,
            guard: PhysicalGuard::of_alternatives(alternatives(&common.guard, conditions)?),
            field,
            is_repeated: common.is_repeated,
            decides: common.decides,
            batches: message.batches,
        };
        let infer = InferExec::try_new(input, call)?;
        let infer = if message.may_end_early { infer.below_limit() } else { infer };
        let Some(filter) = &message.filter else { return Ok(infer) };
        // The filter stands above, and so sees the result too.
        let filter = converter.proto_to_physical_expr(filter, &infer.schema(), &context)?;
        Ok(infer.observed_by(filter))
    }
}

impl LogicalExtensionCodec for PlanCodec {
    fn try_encode(&self, node: &Extension, buffer: &mut Vec<u8>) -> Result<()> {
        let Some(infer) = node.node.as_any().downcast_ref::<Infer>() else { return not_impl_err!("sending {}", node.node.name()) };
        self.encode_logical(&infer.call)?.encode(buffer).map_err(|error| cannot_send(&error))
    }

    fn try_decode(&self, buffer: &[u8], inputs: &[LogicalPlan], context: &TaskContext) -> Result<Extension> {
        let [input] = inputs else { return Err(incomplete()) };
        let message = LogicalMessage::decode(buffer).map_err(|error| unreadable(&error))?;
        let infer = Infer::try_new(input.clone(), self.decode_logical(message, context)?)?;
        Ok(Extension { node: Arc::new(infer) })
    }

    fn try_encode_udf(&self, function: &ScalarUDF, buffer: &mut Vec<u8>) -> Result<()> {
        encode_function(function, buffer)
    }

    fn try_decode_udf(&self, name: &str, buffer: &[u8]) -> Result<Arc<ScalarUDF>> {
        self.decode_function(name, buffer)
    }

    fn try_encode_table_provider(&self, table: &TableReference, node: Arc<dyn TableProvider>, buffer: &mut Vec<u8>) -> Result<()> {
        DefaultLogicalExtensionCodec {}.try_encode_table_provider(table, node, buffer)
    }

    fn try_decode_table_provider(
        &self,
        buffer: &[u8],
        table: &TableReference,
        schema: SchemaRef,
        context: &TaskContext,
    ) -> Result<Arc<dyn TableProvider>> {
        DefaultLogicalExtensionCodec {}.try_decode_table_provider(buffer, table, schema, context)
    }

    fn try_encode_file_format(&self, buffer: &mut Vec<u8>, format: Arc<dyn FileFormatFactory>) -> Result<()> {
        DefaultLogicalExtensionCodec {}.try_encode_file_format(buffer, format)
    }

    fn try_decode_file_format(&self, buffer: &[u8], context: &TaskContext) -> Result<Arc<dyn FileFormatFactory>> {
        DefaultLogicalExtensionCodec {}.try_decode_file_format(buffer, context)
    }
}

impl PhysicalExtensionCodec for PlanCodec {
    fn try_encode(
        &self,
        node: Arc<dyn ExecutionPlan>,
        buffer: &mut Vec<u8>,
        converter: &dyn PhysicalProtoConverterExtension,
    ) -> Result<()> {
        let Some(infer) = node.downcast_ref::<InferExec>() else { return not_impl_err!("sending {}", node.name()) };
        self.encode_physical(infer, converter)?.encode(buffer).map_err(|error| cannot_send(&error))
    }

    fn try_decode(
        &self,
        buffer: &[u8],
        inputs: &[Arc<dyn ExecutionPlan>],
        context: &TaskContext,
        converter: &dyn PhysicalProtoConverterExtension,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let [input] = inputs else { return Err(incomplete()) };
        let message = PhysicalMessage::decode(buffer).map_err(|error| unreadable(&error))?;
        Ok(Arc::new(self.decode_physical(message, Arc::clone(input), context, converter)?))
    }

    fn try_encode_udf(&self, function: &ScalarUDF, buffer: &mut Vec<u8>) -> Result<()> {
        encode_function(function, buffer)
    }

    fn try_decode_udf(&self, name: &str, buffer: &[u8]) -> Result<Arc<ScalarUDF>> {
        self.decode_function(name, buffer)
    }
}

/// Functions that are not bound are known by their names.
fn encode_function(function: &ScalarUDF, buffer: &mut Vec<u8>) -> Result<()> {
    match PlanCodec::function_message(function)? {
        Some(message) => message.encode(buffer).map_err(|error| cannot_send(&error)),
        None => Ok(()),
    }
}

impl PlanCodec {
    fn decode_function(&self, name: &str, buffer: &[u8]) -> Result<Arc<ScalarUDF>> {
        let message = FunctionMessage::decode(buffer).map_err(|error| unreadable(&error))?;
        if message.part_of.as_ref().unwrap_or(&message.name) != name {
            return not_impl_err!("function {name} from another process");
        }
        self.function(message)
    }
}
