#include "capi/c_status.h"

#include "capi/c_struct.h"

namespace dapple::capi {
namespace {

dapple_code CodeOf(const Status& status) {
  switch (status.code()) {
    case StatusCode::kOk:
      return DAPPLE_OK;
    case StatusCode::kInvalidArgument:
      return DAPPLE_INVALID_ARGUMENT;
    case StatusCode::kNotFound:
      return DAPPLE_NOT_FOUND;
    case StatusCode::kCorrupt:
      return DAPPLE_CORRUPT;
    case StatusCode::kUnsupported:
      return DAPPLE_UNSUPPORTED;
    case StatusCode::kDoesNotFit:
      return DAPPLE_DOES_NOT_FIT;
    case StatusCode::kIo:
      return DAPPLE_IO;
    case StatusCode::kCancelled:
      return DAPPLE_CANCELLED;
    case StatusCode::kInternal:
      return DAPPLE_INTERNAL;
  }
  return DAPPLE_INTERNAL;
}

}  // namespace

dapple_code Report(dapple_code code, const std::string& message,
                   dapple_error* error) {
  if (error != nullptr) {
    error->code = code;
    CopyText(message, error->message);
  }
  return code;
}

dapple_code Report(const Status& status, dapple_error* error) {
  return Report(CodeOf(status), status.message(), error);
}

Status Wanted(const void* pointer, const char* name) {
  if (pointer != nullptr) return Status::Ok();
  return InvalidArgument(std::string(name) + " is NULL");
}

}  // namespace dapple::capi

const char* dapple_code_name(int status) {
  switch (status) {
    case DAPPLE_OK:
      return "ok";
    case DAPPLE_INVALID_ARGUMENT:
      return "invalid argument";
    case DAPPLE_NOT_FOUND:
      return "not found";
    case DAPPLE_CORRUPT:
      return "corrupt";
    case DAPPLE_UNSUPPORTED:
      return "unsupported";
    case DAPPLE_DOES_NOT_FIT:
      return "does not fit";
    case DAPPLE_IO:
      return "input or output failed";
    case DAPPLE_CANCELLED:
      return "cancelled";
    case DAPPLE_INTERNAL:
      return "internal error";
    case DAPPLE_END:
      return "end";
    default:
      return "unknown status";
  }
}
