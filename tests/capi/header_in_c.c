/* dapple.h is C99: this file compiles, and its structures have the sizes that
 * C++ sees. */
#include <dapple/dapple.h>

size_t SizeInC(int which) {
  switch (which) {
    case 0:
      return sizeof(dapple_model_options);
    case 1:
      return sizeof(dapple_session_options);
    case 2:
      return sizeof(dapple_plan);
    case 3:
      return sizeof(dapple_token);
    case 4:
      return sizeof(dapple_report);
    default:
      return sizeof(dapple_error);
  }
}
