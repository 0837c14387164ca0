// Decay schedules as text: expressions in reverse Polish notation, evaluated in float64.
//
// Tokens, separated by one space: hexadecimal numbers ("1.8p+0"), "n" for the variable, and "+ - * / min max exp log".
// averaging/expression.py records the schedules of averaging/decay.py in this form. The log of 0 or less is minus infinity.

#pragma once

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "require.h"

inline double evaluate(const std::string& expression, double n) {
  std::vector<double> stack;
  const auto pop = [&stack] {
    require(!stack.empty(), "a decay is not a valid expression");
    const double top = stack.back();
    stack.pop_back();
    return top;
  };
  size_t begin = 0;
  while (begin < expression.size()) {
    const size_t end = std::min(expression.find(' ', begin), expression.size());
    const std::string token = expression.substr(begin, end - begin);
    begin = end + 1;
    if (token == "n") {
      stack.push_back(n);
    } else if (token == "exp") {
      stack.push_back(std::exp(pop()));
    } else if (token == "log") {
      const double x = pop();
      stack.push_back(x > 0 ? std::log(x) : -std::numeric_limits<double>::infinity());
    } else if (token == "+" || token == "-" || token == "*" || token == "/" || token == "min" || token == "max") {
      const double b = pop(), a = pop();
      stack.push_back(token == "+"     ? a + b
                      : token == "-"   ? a - b
                      : token == "*"   ? a * b
                      : token == "/"   ? a / b
                      : token == "min" ? std::min(a, b)
                                       : std::max(a, b));
    } else {
      // strtod would expect the decimal point of the process's locale.
      double number = 0;
      const char* last = token.data() + token.size();
      const bool whole = std::from_chars(token.data(), last, number, std::chars_format::hex).ptr == last;
      require(whole, "a decay has the unknown token ", token);
      stack.push_back(number);
    }
  }
  return pop();
}
