// The C interface's options as the engine's, and the engine's plan as its.
#ifndef DAPPLE_CAPI_C_OPTIONS_H_
#define DAPPLE_CAPI_C_OPTIONS_H_

#include <cstddef>

#include "dapple/dapple.h"
#include "dapple/engine.h"
#include "dapple/sampler.h"
#include "dapple/status.h"

namespace dapple::capi {

// kInvalidArgument naming the field. NULL and zero fields are the defaults
// that dapple.h states.
Result<EngineOptions> ToEngineOptions(const dapple_model_options* given);
Result<SessionOptions> ToSessionOptions(const dapple_session_options* given);
// Of the longest text that dapple_quote may get.
Result<size_t> QuoteTokens(const dapple_session_options* given);
Result<SamplerOptions> ToSamplerOptions(const dapple_sampling* given);

dapple_plan ToPlan(const PlanReport& report);

}  // namespace dapple::capi

#endif  // DAPPLE_CAPI_C_OPTIONS_H_
