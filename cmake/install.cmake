include(CMakePackageConfigHelpers)

install(TARGETS cq_base cq_protocol cq_schedulers cq_worker cq_master cq_runtime cq_cq EXPORT cqTargets
        ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(TARGETS cq_program RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
set(manual ${PROJECT_BINARY_DIR}/cli)
install(FILES ${manual}/cq.1 DESTINATION ${CMAKE_INSTALL_MANDIR}/man1)
install(FILES ${manual}/cq.bash DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions RENAME cq)
install(FILES ${manual}/cq.fish DESTINATION ${CMAKE_INSTALL_DATADIR}/fish/vendor_completions.d)
install(DIRECTORY base/include/cq protocol/include/cq master/include/cq cli/include/cq DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}
        FILES_MATCHING PATTERN "*.h")
install(FILES ${PROJECT_BINARY_DIR}/generated/cq/version.h DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/cq)
install(FILES worker/helpers/cq.py worker/helpers/cq.R DESTINATION ${CMAKE_INSTALL_DATADIR}/cq)
install(DIRECTORY schedulers/templates DESTINATION ${CMAKE_INSTALL_DATADIR}/cq)
install(EXPORT cqTargets NAMESPACE cq:: DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/cq)
configure_package_config_file(cmake/cqConfig.cmake.in ${PROJECT_BINARY_DIR}/cqConfig.cmake
        INSTALL_DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/cq)
write_basic_package_version_file(${PROJECT_BINARY_DIR}/cqConfigVersion.cmake COMPATIBILITY SameMinorVersion)
# Our libraries are static, those that they need are not: all of them stand in Libs, and `--static`
# is not wanted.
file(RELATIVE_PATH CQ_PREFIX_FROM_PKGCONFIG "/${CMAKE_INSTALL_LIBDIR}/pkgconfig" "/")
configure_file(cmake/cq.pc.in ${PROJECT_BINARY_DIR}/cq.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/cq.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
install(FILES ${PROJECT_BINARY_DIR}/cqConfig.cmake ${PROJECT_BINARY_DIR}/cqConfigVersion.cmake
              cmake/link_dependencies.cmake
        DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/cq)
