// Structures of the C interface that grow: struct_size says which of their
// fields a caller knows.
#ifndef DAPPLE_CAPI_C_STRUCT_H_
#define DAPPLE_CAPI_C_STRUCT_H_

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <string>

#include "dapple/status.h"

namespace dapple::capi {

// kInvalidArgument where struct_size cannot be right. `name` is the type's.
template <class T>
Status CheckStruct(const T* given, const char* name) {
  if (given == nullptr) return InvalidArgument(std::string(name) + ": is NULL");
  if (given->struct_size < sizeof(size_t))
    return InvalidArgument(std::string(name) + ": struct_size is not set");
  if (given->struct_size > sizeof(T))
    return InvalidArgument(std::string(name) + ": struct_size is " +
                           std::to_string(given->struct_size) +
                           ", but this version of the library knows " +
                           std::to_string(sizeof(T)) + " bytes of it");
  return Status::Ok();
}

// The caller's options; fields that it does not know are zero.
template <class T>
Result<T> ReadStruct(const T* given, const char* name) {
  DAPPLE_RETURN_IF_ERROR(CheckStruct(given, name));
  T read{};
  std::memcpy(&read, given, given->struct_size);
  return read;
}

// Hands `value` to the caller, as much as it knows of it. CheckStruct first.
template <class T>
void WriteStruct(T value, T* given) {
  value.struct_size = given->struct_size;
  std::memcpy(given, &value, given->struct_size);
}

// text, cut to fit, always with a NUL.
template <size_t N>
void CopyText(const std::string& text, char (&out)[N]) {
  const size_t length = std::min(text.size(), N - 1);
  std::memcpy(out, text.data(), length);
  out[length] = '\0';
}

}  // namespace dapple::capi

#endif  // DAPPLE_CAPI_C_STRUCT_H_
