// The border of the C interface: a Status becomes a code and a message, and no
// exception passes.
#ifndef DAPPLE_CAPI_C_STATUS_H_
#define DAPPLE_CAPI_C_STATUS_H_

#include <exception>
#include <new>
#include <string>

#include "dapple/dapple.h"
#include "dapple/status.h"

namespace dapple::capi {

// Fills *error (which may be null) and returns the code.
dapple_code Report(dapple_code code, const std::string& message,
                   dapple_error* error);
dapple_code Report(const Status& status, dapple_error* error);

// kInvalidArgument, by name, where a required pointer is NULL.
Status Wanted(const void* pointer, const char* name);

// Runs `body`, which returns a Status, behind the border.
template <class Body>
dapple_code Guarded(dapple_error* error, const Body& body) {
  try {
    return Report(body(), error);
  } catch (const std::bad_alloc&) {
    return Report(DAPPLE_DOES_NOT_FIT, "out of memory", error);
  } catch (const std::exception& exception) {
    return Report(DAPPLE_INTERNAL, exception.what(), error);
  } catch (...) {
    return Report(DAPPLE_INTERNAL, "unknown exception", error);
  }
}

}  // namespace dapple::capi

#endif  // DAPPLE_CAPI_C_STATUS_H_
