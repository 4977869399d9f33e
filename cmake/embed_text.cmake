# cmake -DIN=FILE -DOUT=FILE -DNAME=kName -P embed_text.cmake: a header that holds the text of a
# file.
file(READ "${IN}" text)
file(WRITE "${OUT}" "#pragma once\n\nnamespace cq {\ninline constexpr char ${NAME}[] = R\"~~~~(${text})~~~~\";\n}  // namespace cq\n")
