// What is asked of an operation's inputs. By Paddle's exception: of any other the executor of Paddle 3 loses the words.

#pragma once

#include <string>

#include "paddle/phi/core/enforce.h"

inline void require(bool holds, const char* what, const std::string& which = "") {
  if (!holds) PADDLE_THROW(phi::errors::InvalidArgument("%s%s", what, which));
}
