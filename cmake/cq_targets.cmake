# A module of cq: a static library `cq_NAME`, known as cq::NAME, whose public headers (if any) stand in
# NAME/include and whose internal headers are included by their path from the top.
function(cq_module name)
  add_library(cq_${name} STATIC ${ARGN})
  add_library(cq::${name} ALIAS cq_${name})
  set_target_properties(cq_${name} PROPERTIES EXPORT_NAME ${name} POSITION_INDEPENDENT_CODE ON)
  target_compile_features(cq_${name} PUBLIC cxx_std_20)
  target_include_directories(cq_${name}
    PUBLIC $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>
    PRIVATE ${PROJECT_SOURCE_DIR})
  if(IS_DIRECTORY ${CMAKE_CURRENT_SOURCE_DIR}/include)
    target_include_directories(cq_${name} PUBLIC $<BUILD_INTERFACE:${CMAKE_CURRENT_SOURCE_DIR}/include>)
  endif()
endfunction()

# Makes `generated/HEADER` define `NAME` as the text of FILE, and lets TARGET include it.
function(cq_embed_text target file header name)
  set(output ${PROJECT_BINARY_DIR}/generated/${header})
  add_custom_command(OUTPUT ${output}
    COMMAND ${CMAKE_COMMAND} -DIN=${CMAKE_CURRENT_SOURCE_DIR}/${file} -DOUT=${output} -DNAME=${name}
            -P ${PROJECT_SOURCE_DIR}/cmake/embed_text.cmake
    DEPENDS ${file} ${PROJECT_SOURCE_DIR}/cmake/embed_text.cmake)
  target_sources(${target} PRIVATE ${output})
  target_include_directories(${target} PRIVATE ${PROJECT_BINARY_DIR})
endfunction()
